"use strict";
// Everything works without this file: it copies to the clipboard, shows times in the reader's own zone, and fills the form of a new request from a help desk's link.
document.querySelectorAll("[data-copy]").forEach((button) => {
  const source = document.getElementById(button.dataset.copy);
  if (!source || !navigator.clipboard) return;
  button.hidden = false;
  const label = button.textContent;
  if (button.dataset.first !== undefined) button.focus();
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(source.value);
      button.textContent = "Copied";
    } catch {
      source.focus();
      source.select();
      button.textContent = "Press Ctrl+C";
    }
    setTimeout(() => { button.textContent = label; }, 2000);
  });
});
document.querySelectorAll("input[readonly],textarea[readonly]").forEach((field) => {
  field.addEventListener("focus", () => field.select());
});
document.querySelectorAll("time[datetime]").forEach((time) => {
  const at = new Date(time.dateTime);
  if (Number.isNaN(at.getTime())) return;
  const local = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  if (time.dataset.relative === undefined) time.textContent = local;
  time.title = local + " (" + time.dateTime + ")";
});
// What stands behind # in an address is never sent to a server. It fills the form, and leaves the address at once; on the way over the sign-in page this tab keeps it.
{
  const form = document.querySelector("form[data-fill]");
  const kept = "nightdrop-fill";
  let given = location.hash.includes("=") ? location.hash.slice(1) : "";
  if (given) history.replaceState(null, "", location.pathname + location.search);
  try {
    if (!form && given && location.pathname.startsWith("/sign-in")) sessionStorage.setItem(kept, given);
    if (form) {
      given ||= sessionStorage.getItem(kept) || "";
      sessionStorage.removeItem(kept);
    }
  } catch { /* A browser that keeps nothing: the form is filled by hand. */ }
  if (form && given) {
    const values = new URLSearchParams(given);
    let filled = false;
    for (const name of form.dataset.fill.split(" ")) {
      const field = form.elements[name];
      const value = (values.get(name) || "").trim();
      if (!field || !value) continue;
      if (field.options && ![...field.options].some((option) => option.value === value)) continue;
      field.value = value;
      filled = true;
    }
    const notice = document.querySelector("[data-filled]");
    if (filled && notice) notice.hidden = false;
  }
}
