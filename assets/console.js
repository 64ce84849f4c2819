"use strict";
// Everything works without this file: it copies to the clipboard and shows times in the reader's own zone.
document.querySelectorAll("[data-copy]").forEach((button) => {
  const source = document.getElementById(button.dataset.copy);
  if (!source || !navigator.clipboard) return;
  button.hidden = false;
  const label = button.textContent;
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
