// Makes the form kinder where scripts run; without this file everything works all the same.
// Times in the reader's own zone; a preview with its question; and, where the form says data-tus, each part is sent as soon as it is accepted (tus 1.0)
// and goes on by itself after a lost connection. Whatever fails unexpectedly leads back to the plain form.
(() => {
  "use strict";
  const root = document.documentElement, all = (at, what) => [...at.querySelectorAll(what)];
  const locale = root.lang + "-u-nu-latn";
  for (const t of all(document, "time")) {
    const at = new Date(t.dateTime);
    const shape = { day: "numeric", month: "long", year: "numeric" };
    if (!("day" in t.dataset)) Object.assign(shape, { hour: "numeric", minute: "2-digit", timeZoneName: "short" });
    // Where that fails, the server's words stay.
    try { if (!isNaN(at)) t.textContent = at.toLocaleString(locale, shape); } catch {}
  }
  const wrong = document.querySelector(".problem");
  if (wrong) wrong.focus();

  const form = document.querySelector("form[data-words]"), channel = typeof BroadcastChannel === "function" && new BroadcastChannel(location.pathname);
  if (!form) { if (channel) channel.postMessage(0); return; }
  const say = JSON.parse(form.dataset.words), status = document.getElementById("status"), send = form.querySelector(".send");
  // Parts may be called anything, and the form would give an input of the name "action".
  const goal = form.getAttribute("action");
  // The address of the link itself: the picked language does not belong to it.
  const here = new URL(goal, location.href).pathname;
  const desktop = matchMedia("(hover: hover) and (pointer: fine)").matches;
  let tus = "tus" in form.dataset, sending = false, leaving = false;
  // What photos need comes with the first of them: most of a first visit's time is spent on the line.
  const photos = () => import(form.dataset.photos);

  const fill = (text, slots) => text.replace(/\{(\w+)\}/g, (_, name) => slots[name]);
  const put = (at, words) => { if (at.textContent !== words) at.textContent = words; };
  const tell = (words) => put(status, words);
  const parts = all(form, "fieldset").map(step);
  const open = () => parts.some((p) => p.sending);
  root.classList.add("js");
  if (tus) send.hidden = true;
  finish();

  function step(box) {
    const find = (what) => box.querySelector(what), data = box.dataset, fold = find("details");
    if (fold) { find(".stored").remove(); fold.replaceWith(...fold.querySelectorAll(".quiet, .choose")); }
    const choose = find(".choose"), preview = find(".preview"), way = find(".way"), state = find(".state"), bar = find("progress"), change = find(".change");
    const image = find("img"), zoom = find(".zoom"), warning = find(".warning"), name = find(".file"), smaller = find(".smaller"), note = find(".status"), hint = all(box, ".quiet"), inputs = all(choose, "input");
    const part = { box, name: data.part, file: null, accepted: false, sending: false, stored: false, chosen: null, run: null, removed: null };

    part.show = (what) => {
      choose.hidden = what !== "choose";
      hint.forEach((h) => { h.hidden = what !== "choose"; });
      preview.hidden = what !== "preview";
      way.hidden = what !== "way";
      bar.hidden = !part.sending;
            data.state = part.stored || part.accepted && !part.sending ? "done" : what;
    };
    part.says = (words) => { state.textContent = words; };
    // The sentence stands beside the part that it is about; what holds for all of them, once.
    part.tell = (words) => put(note, (words === say.sending || words === say.offline) && parts.find((p) => p.sending) !== part ? "" : words);
    part.progress = (bytes, time) => {
      // Full only once the server has said that it is stored; of no length until something has arrived.
      if (bytes) bar.value = Math.min(99, Math.floor(100 * bytes / part.file.size));
      else bar.removeAttribute("value");
      part.says(fill(time ? say.progressTime : say.progress, { sent: megabytes(bytes), total: fill(say.megabytes, { count: megabytes(Math.max(1e5, part.file.size)) }), time }));
      bar.setAttribute("aria-valuetext", state.textContent);
    };
    part.refuse = (words) => {
      part.clear();
      all(box, ".problem").forEach((p) => p.remove());
      const p = document.createElement("p");
      p.className = "problem"; p.id = part.name + "-error"; p.tabIndex = -1; p.setAttribute("role", "alert"); p.textContent = words;
      find("legend").after(p);
      inputs.forEach((i) => { i.setAttribute("aria-invalid", "true"); i.setAttribute("aria-describedby", p.id + " " + part.name + "-hint"); });
      p.focus();
    };
    part.clear = () => {
      inputs.forEach((i) => { i.value = ""; });
      if (image.src) URL.revokeObjectURL(image.src);
      image.removeAttribute("src");
      part.file = part.chosen = part.run = null; part.accepted = part.sending = part.stored = false;
      inputs.forEach((i) => { i.disabled = false; });
      part.tell("");
      part.show("choose");
    };
    async function pick(input, given) {
      let file = given;
      // Only one of the two inputs may carry a file; its value stays, for the plain form.
      inputs.forEach((other) => { if (other !== input) other.value = ""; });
      const chosen = part.chosen = file;
      all(box, ".problem").forEach((p) => p.remove());
      inputs.forEach((i) => i.removeAttribute("aria-invalid"));
      smaller.hidden = true;
      const head = await read(file, 0, Math.min(32, file.size)).catch(() => 0);
      if (part.chosen !== chosen) return;
      if (!head) { part.refuse(say.unreadable); return; }
      const kind = await photos().then((helper) => helper.kindOf(head)).catch(() => null);
      if (part.chosen !== chosen) return;
      // What the server will not take is said before it is sent, and never shown as if it were fine.
      if (kind && !data.types.split(" ").includes(kind)) { part.refuse(fill(/^(WebP|AVIF)$/.test(kind) ? say.otherFormat : say.notAccepted, { found: kind })); return; }
      const seen = kind === "JPEG" || kind === "PNG";
      if (file.size > data.most) {
        if (data.shrinking && seen) {
          part.says(data.shrinking);
          part.show("way");
          state.focus({ preventScroll: true });
          file = await photos().then((helper) => helper.shrink(chosen, data)).catch(() => null);
          // Another one was chosen meanwhile.
          if (part.chosen !== chosen) return;
          smaller.hidden = false;
        }
        if (!file || file.size > data.most || file !== chosen && !place(input, file)) { part.refuse(data.tooBig); return; }
      }
      const photo = kind && kind !== "PDF" ? "Photo" : "";
      if (file.size && file.size < data["least" + photo]) { part.refuse(data["tooSmall" + photo]); return; }
      part.file = file;
      if (image.src) URL.revokeObjectURL(image.src);
      if (seen) image.src = URL.createObjectURL(file);
      zoom.hidden = !seen;
      put(warning, "");
      if (seen) {
        const looks = (helper) => {
          const words = part.file === file && say[helper.judge(image, data.minSide)];
          if (words) put(warning, words + " " + say.anyway);
        };
        // Without the helper, or where it fails, nothing is said.
        image.addEventListener("load", () => photos().then(looks).catch(() => {}), { once: true });
      }
      name.textContent = file.name; name.hidden = seen;
      for (const b of all(preview, "button[data-file]")) {
        b.dataset.photo = b.dataset.photo || b.textContent;
        b.textContent = input.hasAttribute("capture") || seen && inputs.length < 2 ? b.dataset.photo : b.dataset.file;
      }
      part.show("preview");
      preview.scrollIntoView({ block: "nearest" });
      preview.querySelector(".ask").focus({ preventScroll: true });
    }
    inputs.forEach((input) => input.addEventListener("change", () => {
      const file = input.files[0];
      // Some browsers tell of the smaller photo, too, that is put into the input below.
      if (file && !(part.file && sameFile(file) === sameFile(part.file))) pick(input, file).catch(plainly);
    }));
    const back = () => { part.clear(); part.focus(); };
    // Until the last side is here any of them can be taken again. What has arrived of it goes first: the document must not be completed with it meanwhile.
    change.addEventListener("click", () => {
      keep(part);
      if (tus && (part.stored || part.sending)) part.removed = ask(here + "/parts/" + part.name, "DELETE").catch((failure) => { if (failure.reload) leave(); });
      back();
    });
    zoom.addEventListener("click", () => photos().then((helper) => helper.enlarge(image, say)).catch(() => {}));
    part.drop = (file) => { const input = find("input:not([capture])"); if (place(input, file)) pick(input, file).catch(plainly); };
    part.waits = () => !part.accepted && !part.stored;
    // What the plain form sends is what was looked at.
    const place = (input, file) => {
      try {
        const list = new DataTransfer();
        list.items.add(file);
        part.file = file;
        input.files = list.files;
        return true;
      } catch { return false; }
    };
    find(".again").addEventListener("click", back);
    find(".use").addEventListener("click", () => {
      part.accepted = true;
      if (tus) upload(part).catch(plainly);
      else { part.says("✓ " + say.ready); part.show("way"); }
      next();
    });
    part.done = () => {
      part.sending = false; part.stored = true;
      inputs.forEach((i) => { i.disabled = true; });
      part.says("✓ " + say.stored);
      part.tell("");
      part.show("way");
    };
    part.focus = () => choose.querySelector("input").focus();
    if (desktop) {
      // A desktop has files rather than a camera, and something to drag them with.
      if (inputs.length > 1) choose.append(choose.firstElementChild);
      hint[0].append(document.createElement("br"), say.dropHere);
    }
    if (fold) { delete data.stored; part.done(); }
    return part;
  }

  if (desktop) photos().then((helper) => helper.dropping(parts)).catch(() => {});

  // On to the next part that still wants a file, or to the button; what is being sent stays in sight.
  function next() {
    const wanting = parts.find((p) => !p.accepted && !p.stored), moving = parts.find((p) => p.sending);
    if (wanting) { wanting.focus(); wanting.box.scrollIntoView({ block: "nearest" }); }
    else if (!send.hidden) send.focus();
    else if (moving) moving.box.querySelector(".state").focus();
    if (moving) moving.box.scrollIntoView({ block: "nearest" });
  }

  // The bytes, or that this device does not give them any more: what lies in a cloud, or was changed since it was chosen.
  async function read(file, from, to) {
    try {
      const bytes = await file.slice(from, to).arrayBuffer();
      if (bytes.byteLength === to - from) return bytes;
    // What fails is told below.
    } catch {}
    throw new Failure({ unreadable: true });
  }

  // The plain form, sent from here: so that a foreign answer, such as that of a proxy that takes no body of this size, can be told in words.
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (sending) return;
    const empty = parts.find((p) => !p.file && !p.stored);
    if (empty) { empty.refuse(say.missing); return; }
    const over = (words) => { sending = false; send.removeAttribute("aria-disabled"); tell(words); };
    sending = true;
    send.setAttribute("aria-disabled", "true");
    tell(say.sending);
    for (const p of parts) {
      if (!p.stored && !await read(p.file, 0, 1).catch(() => 0)) { over(""); p.refuse(say.unreadable); return; }
    }
    try {
      const answer = await fetch(goal, { method: "POST", body: new FormData(form), headers: { Accept: "text/html" } }), page = await answer.text();
      if (answer.ok) { leave(); return; }
      if (!page.includes("/assets/portal.css")) { over(answer.status === 413 ? say.limited : say.cut); return; }
      leaving = true;
      document.open();
      document.write(page);
      document.close();
    } catch { over(say.cut); }
  });
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  addEventListener("beforeunload", (event) => { if (!leaving && (open() || sending || parts.some((p) => p.accepted && !p.stored))) event.preventDefault(); });
  addEventListener("offline", () => { for (const p of parts) if (p.sending) p.tell(say.offline); if (sending) tell(say.offline); });
  addEventListener("online", () => { for (const p of parts) if (p.sending) p.tell(say.sending); if (sending) tell(say.sending); });

  // ---- The same link in another tab or on another device: once it has been used there, this page says so, too. Asking changes nothing. ----
  let looked = 0;
  async function look({ type }) {
    if (open() || sending || leaving || type !== "message" && (document.hidden || Date.now() - looked < 10000)) return;
    // Pages are counted for each address, and many people may share one.
    looked = Date.now();
    try {
      const answer = await fetch(goal, { headers: { Accept: "application/json" }, cache: "no-store" });
      if (!/json/.test(answer.headers.get("Content-Type"))) return;
      const { state, code } = await answer.json();
      if (!open() && !sending && (state === "received" || /^link\./.test(code))) leave();
    // Asked again the next time.
    } catch {}
  }
  if (channel) channel.onmessage = look;
  document.addEventListener("visibilitychange", look);

  // The same address is the receipt now.
  function leave() { leaving = true; location.replace(goal); }

  // ---- tus 1.0: creation, then PATCH after PATCH; HEAD says where to go on. ----
  const KIB64 = 65536, PATIENCE = 60000, TRIES = 12;
  // No proxy on the way has said so far that it takes less.
  let most = 64 * KIB64;

  // Sorted by what to do: `again` later, `gone` means a new upload, `smaller` pieces, `words` are for the applicant, anything else ends in the plain form.
  class Failure extends Error { constructor(what) { super("upload"); Object.assign(this, what); } }

  async function ask(address, method, headers, body) {
    const cut = new AbortController();
    // An abort that comes too late does nothing.
    setTimeout(() => cut.abort(), PATIENCE);
    const options = { method, body, cache: "no-store", redirect: "error", signal: cut.signal, headers: { "Tus-Resumable": "1.0.0", Accept: "application/problem+json", ...headers } };
    let answer;
    // Only what fails here is the network's fault.
    try { answer = await fetch(address, options); } catch { throw new Failure({ again: true }); }
    if (answer.ok) return answer;
    const problem = /json/.test(answer.headers.get("Content-Type")) ? await answer.json().catch(() => ({})) : {};
    // The answer to HEAD has no body: its code stands in a header.
    const code = answer.headers.get("Problem-Code") || problem.code, wait = Number(answer.headers.get("Retry-After")) * 1000 || 0, s = answer.status;
    if (/^link\.|^passcode\./.test(code)) throw new Failure({ reload: true });
    if (code === "upload.busy") throw new Failure({ again: true, wait, words: say.elsewhere });
    if (s === 409 && method === "PATCH" || code === "upload.cut_off" || s === 408 || s === 429 || s >= 500 && s !== 501) throw new Failure({ again: true, wait });
    if ((s === 404 || s === 410) && method !== "POST") throw new Failure({ gone: true });
    if (/^file\./.test(code) && problem.detail) throw new Failure({ refused: problem.detail });
    throw new Failure({ smaller: s === 413 && !code });
  }

  const offsetOf = (answer, end) => {
    const at = Number(answer.headers.get("Upload-Offset") ?? NaN);
    if (!(at >= 0 && at <= end)) throw new Failure({});
    return at;
  };
  const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));
  // Where an upload stands is kept for this tab only, without the file's name: the same file chosen again after a reload goes on.
  const memory = (part) => here + "/" + part.name;
  const sameFile = (file) => file.size + "." + file.lastModified;
  const kept = (part) => { try { const [is, at] = sessionStorage.getItem(memory(part)).split(" "); return is === sameFile(part.file) && at; } catch { return null; } };
  // A private window may refuse.
  const keep = (part, at) => { try { if (at) sessionStorage.setItem(memory(part), sameFile(part.file) + " " + at); else sessionStorage.removeItem(memory(part)); } catch {} };

  async function create(part) {
    const answer = await ask(here + "/parts/" + part.name, "POST", {
      "Upload-Length": String(part.file.size),
      "Upload-Metadata": "filename " + base64(part.file.name) + ",filetype " + base64(part.file.type),
    });
    const at = new URL(answer.headers.get("Location") ?? "", location.href);
    if (answer.status !== 201 || !answer.headers.get("Location") || at.origin !== location.origin) throw new Failure({});
    keep(part, at.pathname + at.search);
    return at.pathname + at.search;
  }

  function megabytes(bytes) { return new Intl.NumberFormat(locale, { minimumFractionDigits: 1, maximumFractionDigits: 1 }).format(bytes / 1e6); }

  // How long it will take, after two seconds of measuring, in steps that only go down unless it is far off.
  function clock(size) {
    let from, then, speed = 0, shown = Infinity, since;
    return (bytes) => {
      const now = performance.now() / 1000;
      if (from === undefined) since = now;
      else if (bytes > from) { const fresh = (bytes - from) / Math.max(0.01, now - then); speed = speed ? 0.75 * speed + 0.25 * fresh : fresh; }
      from = bytes; then = now;
      if (!speed || now - since < 2) return "";
      const left = (size - bytes) / speed, step = left < 60 ? 5 : 60, rounded = Math.ceil(left / step) * step;
      if (rounded < shown || left > shown * 1.5) shown = rounded;
      const minutes = shown >= 60;
      try { return new Intl.NumberFormat(locale, { style: "unit", unit: minutes ? "minute" : "second", unitDisplay: "long" }).format(minutes ? Math.ceil(shown / 60) : Math.max(5, shown)); } catch { return ""; }
    };
  }

  async function upload(part) {
    const { file } = part, run = part.run = {}, time = clock(file.size);
    // Another file may have been chosen instead, or the form have taken over.
    const mine = () => part.run === run && tus;
    part.sending = true;
    part.show("way");
    part.progress(0);
    part.tell(say.sending);
    let address = kept(part), offset = address ? null : 0, piece = KIB64, fails = 0;
    await part.removed;
    const over = () => { keep(part); part.done(); parts.forEach((p) => { if (p.sending) p.tell(say.sending); }); finish(); };
    while (mine()) {
      try {
        if (!address && fails) {
          // Begun anew only if no other device has finished it meanwhile.
          const at = await ask(here + "/parts/" + part.name, "HEAD", {}).catch((f) => { if (!f.gone) throw f; });
          if (at && offsetOf(at, Infinity) === Number(at.headers.get("Upload-Length"))) return over();
        }
        if (!address) { address = await create(part); offset = 0; }
        if (offset === null) offset = offsetOf(await ask(address, "HEAD", {}), Infinity);
        if (!mine()) return;
        part.progress(offset, time(offset));
        if (offset < file.size) {
          piece = Math.min(piece, most);
          const bytes = await read(file, offset, Math.min(file.size, offset + piece)), from = performance.now();
          const answer = await ask(address, "PATCH", { "Content-Type": "application/offset+octet-stream", "Upload-Offset": String(offset) }, bytes);
          if (!mine()) return;
          const reached = offsetOf(answer, file.size);
          // A piece takes about a second: small on a weak line, so that little is lost and something moves at once, and large on a good one.
          const better = piece * 1000 / Math.max(50, performance.now() - from);
          piece = Math.max(1, Math.min(64, Math.round(Math.min(better, piece * 4) / KIB64))) * KIB64;
          if (reached > offset) fails = 0;
          offset = reached;
          part.progress(offset, time(offset));
          part.tell(navigator.onLine ? say.sending : say.offline);
        }
        if (offset >= file.size) return over();
      } catch (failure) {
        if (!mine()) return;
        if (failure.again && (fails += 1) <= TRIES) {
          part.tell(navigator.onLine ? failure.words || say.retrying : say.offline);
          piece = Math.max(KIB64, piece / 2);
          await pause(failure.wait || Math.min(30000, 500 * 2 ** fails) * (0.5 + Math.random() / 2));
          if (address) offset = null;
        } else if (failure.smaller && piece > KIB64) {
          // A proxy takes no body of this size, and none of the next pieces.
          most = piece = Math.max(KIB64, Math.floor(Math.min(piece, file.size - offset) / 2 / KIB64) * KIB64);
          offset = null;
        } else if (failure.gone && (fails += 1) <= 3) { keep(part); address = null; }
        else if (failure.reload) { leaving = true; location.reload(); return; }
        else if (failure.refused || failure.unreadable) {
          keep(part);
          part.refuse(failure.refused || say.unreadable);
          parts.forEach((p) => { if (p.sending) p.tell(say.sending); });
          return;
        } else { keep(part); plainly(); return; }
      }
    }
  }

  // Ends early when the connection is back.
  function pause(time) { return new Promise((go) => { const end = () => { removeEventListener("online", end); clearTimeout(timer); go(); }, timer = setTimeout(end, time); addEventListener("online", end); }); }

  // Everything is stored.
  function finish() {
    if (!tus || !parts.every((p) => p.stored)) return;
    tell(say.finishing);
    leave();
  }

  // Back to the plain form: the inputs still hold what was chosen.
  function plainly() {
    tus = false;
    send.hidden = false;
    tell(say.failed);
    for (const p of parts) if (p.accepted && !p.stored) { p.sending = false; p.tell(""); p.says("✓ " + say.ready); p.show("way"); }
    send.focus();
  }
})();
