"use strict";
// Everything works without this file: it copies to the clipboard, shows times in the reader's own zone, looks for news, and fills the form of a new request from a help desk's link.
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
const localTimes = (within) => within.querySelectorAll("time[datetime]").forEach((time) => {
  const at = new Date(time.dateTime);
  if (Number.isNaN(at.getTime())) return;
  const local = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
  if (time.dataset.relative === undefined) time.textContent = local;
  time.title = local + " (" + time.dateTime + ")";
});
localTimes(document);
// One box that ticks all of a list.
const allBoxes = (within) => within.querySelectorAll("[data-all]").forEach((label) => {
  const all = label.querySelector("input");
  label.hidden = false;
  all.addEventListener("change", () => {
    for (const box of label.closest("form").querySelectorAll(`[name=${label.dataset.all}]`)) box.checked = all.checked;
  });
});
allBoxes(document);
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
// Lists and requests look by themselves whether something has changed: often after a change, then ever more seldom, and never while they are hidden or somebody is at
// a field, a link or a selection in them. A session is not kept awake by it.
{
  const live = document.querySelector("main[data-live]");
  const least = 4000, most = 60000;
  const kept = new URLSearchParams(location.search).has("shown");
  const saying = () => [...live.querySelectorAll(".chip,.number,.empty")].map((part) => part.textContent).join(" · ");
  const dirty = (field) => {
    if (field.type === "hidden") return false;
    if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
    if (!field.options) return field.value !== field.defaultValue;
    const chosen = [...field.options].findIndex((option) => option.defaultSelected);
    return field.selectedIndex !== Math.max(chosen, 0);
  };
  const atWork = () => document.hidden || live.contains(document.activeElement) || document.querySelector("dialog[open]")
    || !getSelection().isCollapsed || [...live.querySelectorAll("input,select,textarea")].some(dirty);
  let tag = "", wait = least, timer = 0;
  const again = () => { clearTimeout(timer); timer = setTimeout(look, wait); };
  const look = async () => {
    if (atWork()) return again();
    try {
      const headers = { "nightdrop-look": "1" };
      if (tag) headers["If-None-Match"] = tag;
      const answer = await fetch(location.href, { headers, cache: "no-store", redirect: "manual" });
      if (answer.type === "opaqueredirect") {
        document.getElementById("live").textContent = "You are signed out. This page is not kept up to date any more.";
        return;
      }
      wait = Math.min(most, wait * 1.5);
      if (answer.status === 200) {
        tag = answer.headers.get("ETag") || "";
        const next = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main[data-live]");
        if (next && !atWork()) {
          const before = saying();
          localTimes(next);
          live.replaceChildren(...next.childNodes);
          allBoxes(live);
          const after = saying();
          if (after !== before) {
            wait = least;
            document.getElementById("live").textContent = "This page was updated. " + (live.querySelector(".title .chip")?.textContent || "");
          }
        } else tag = "";
      }
    } catch { wait = most; }
    again();
  };
  if (live && !kept) {
    document.addEventListener("visibilitychange", () => { if (!document.hidden) { wait = least; again(); } });
    again();
  }
}
