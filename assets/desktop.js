// What the upload page does on desktops only, loaded by them alone: dragging, pasting, and showing what arrives from the phone that goes on with the same link. The server
// appends `say`, the words of this file in the page's language.
// ---- Dragged onto a part, or pasted into the page. ----
export function dropping(parts) {
  for (const part of parts) part.hint.append(document.createElement("br"), say.dropHere);
  for (const kind of ["dragover", "dragleave", "drop"]) {
    addEventListener(kind, (event) => {
      const carried = event.dataTransfer;
      if (!carried || !Array.from(carried.types).includes("Files")) return;
      const part = kind !== "dragleave" && parts.find((p) => p.waits() && p.box.contains(event.target));
      // Beside the parts a browser would leave the page and open the file.
      event.preventDefault();
      carried.dropEffect = part ? "copy" : "none";
      parts.forEach((p) => p.box.classList.toggle("over", kind === "dragover" && p === part));
      if (kind === "drop" && part && carried.files[0]) part.drop(carried.files[0]);
    });
  }
  addEventListener("paste", (event) => {
    const file = event.clipboardData && event.clipboardData.files[0];
    const free = parts.filter((p) => p.waits() && !p.file), part = free.find((p) => p.box.contains(document.activeElement)) || free[0];
    if (file && part) { event.preventDefault(); part.drop(file); }
  });
}

// ---- The same link on a phone: what it sends is shown here, and once all of it has arrived, the receipt. ----
// Asking changes nothing, and it is asked ever less often while nothing happens: many desktops may stand open. What is hidden asks nothing.
const FIRST = 3000, MOVING = 2000, SLOWEST = 30000, SILENT = 25000, QUIET = 3600000;

export function watch({ parts, stand, busy, leave }) {
  // As the stylesheet says it: only where the code is shown.
  if (!matchMedia("(min-width: 48rem)").matches) return;
  let wait = FIRST, timer, asking = false, changed = Date.now(), over = false;
  const seen = new Map();
  // In steps of ten: a screen reader says each of them.
  const percent = (share) => new Intl.NumberFormat(document.documentElement.lang + "-u-nu-latn", { style: "percent" }).format(Math.min(9, Math.round(share * 10)) / 10);

  // What is known of a part, and whether it has changed since the last look.
  async function look(part) {
    // Being taken again, it must not be found as it was.
    await part.removed;
    const at = await stand(part);
    // Chosen here meanwhile: then the page has its own words for it.
    if (busy() || part.file && !part.stored) return { whole: at && at.offset === at.length };
    const now = Date.now(), was = seen.get(part.name) || { offset: null, since: now };
    if (!at) {
      seen.delete(part.name);
      // Taken again on the other device.
      if (part.stored) part.clear();
      else if (was.offset !== null) part.tell("");
      return { changed: was.offset !== null || part.stored };
    }
    const moved = at.offset !== was.offset, whole = at.offset === at.length;
    const is = { offset: at.offset, since: moved ? now : was.since };
    seen.set(part.name, is);
    if (whole) {
      const inside = part.box.contains(document.activeElement);
      if (!part.stored) part.done();
      // Not left on what is hidden now.
      if (inside && moved) part.box.querySelector(".state").focus({ preventScroll: true });
    }
    // Begun anew on the other device.
    else if (part.stored) part.clear();
    // Where it stands when it is first seen may be of long ago.
    else if (moved && was.offset !== null) part.tell(say.sending.replace("{percent}", percent(at.offset / at.length)));
    else if (now - is.since > SILENT) part.tell(say.stopped);
    return { whole, changed: moved, moving: !whole && now - is.since <= SILENT };
  }

  async function round() {
    timer = 0;
    if (document.hidden || over) return;
    // What is sent from here is shown already.
    if (busy()) { later(); return; }
    asking = true;
    try {
      const found = [];
      for (const part of parts) found.push(await look(part));
      if (found.some((f) => f.changed)) changed = Date.now();
      if (!busy() && found.every((f) => f.whole)) { over = true; leave(); return; }
      if (found.some((f) => f.moving)) wait = MOVING;
      else wait = found.some((f) => f.changed) ? FIRST : Math.min(SLOWEST, Math.max(FIRST, wait * 1.25));
    } catch (failure) {
      // The link is used, dead or locked, or wants its code again: the page of this address says so, unless something was chosen here.
      if (failure.reload && !busy() && !parts.some((p) => p.file && !p.stored)) { over = true; leave(); return; }
      if (!failure.again) { over = true; return; }
      wait = Math.max(failure.wait || 0, Math.min(SLOWEST, wait * 2));
    } finally { asking = false; }
    later();
  }
  function later() { if (!over && !asking && Date.now() - changed < QUIET) { clearTimeout(timer); timer = setTimeout(round, wait * (0.9 + Math.random() / 5)); } }
  // Whoever comes back to this page wants to see how it stands.
  function back() {
    if (document.hidden || over || asking) return;
    changed = Date.now();
    wait = FIRST;
    later();
  }
  document.addEventListener("visibilitychange", back);
  addEventListener("focus", back);
  later();
}
