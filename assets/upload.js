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
    try { if (!isNaN(at)) t.textContent = at.toLocaleString(locale, shape); } catch { /* the server's words stay */ }
  }
  const wrong = document.querySelector(".problem");
  if (wrong) wrong.focus();

  const form = document.querySelector("form[data-words]");
  if (!form) return;
  const say = JSON.parse(form.dataset.words), status = document.getElementById("status"), send = form.querySelector(".send");
  let tus = "tus" in form.dataset, sending = false;
  root.classList.add("js");
  // The address of the link itself: the picked language does not belong to it.
  const here = new URL(form.action).pathname;

  const tell = (words) => { if (status.textContent !== words) status.textContent = words; };
  const parts = all(form, "fieldset").filter((f) => !("stored" in f.dataset)).map(step);
  const open = () => parts.some((p) => p.sending);
  if (tus) send.hidden = true;
  if (tus && !parts.length) finish();

  function step(box) {
    const find = (what) => box.querySelector(what);
    const choose = find(".choose"), preview = find(".preview"), way = find(".way"), state = find(".state"), bar = find("progress"), change = find(".change");
    const image = find("img"), name = find(".file"), smaller = find(".smaller"), hint = all(box, ".quiet"), inputs = all(choose, "input");
    const part = { name: box.dataset.part, file: null, accepted: false, sending: false, stored: false, chosen: null };

    part.show = (what) => {
      choose.hidden = what !== "choose";
      hint.forEach((h) => { h.hidden = what !== "choose"; });
      preview.hidden = what !== "preview";
      way.hidden = what !== "way";
      bar.hidden = !part.sending;
      change.hidden = part.sending || part.stored;
      box.dataset.state = part.stored || part.accepted && !part.sending ? "done" : what;
    };
    part.says = (words) => { state.textContent = words; };
    part.progress = (bytes) => {
      // Full only once the server has said that it is stored.
      const share = Math.min(99, Math.floor(100 * bytes / (part.file.size || 1)));
      bar.value = share;
      part.says(new Intl.NumberFormat(locale, { style: "percent" }).format(share / 100));
      bar.setAttribute("aria-valuetext", state.textContent);
    };
    part.refuse = (words) => {
      all(box, ".problem").forEach((p) => p.remove());
      part.accepted = part.sending = false;
      const p = document.createElement("p");
      p.className = "problem"; p.id = part.name + "-error"; p.tabIndex = -1; p.setAttribute("role", "alert"); p.textContent = words;
      box.querySelector("legend").after(p);
      inputs.forEach((i) => { i.setAttribute("aria-invalid", "true"); i.setAttribute("aria-describedby", p.id + " " + part.name + "-hint"); });
      part.show("choose");
      p.focus();
    };
    part.clear = () => {
      inputs.forEach((i) => { i.value = ""; });
      if (image.src) URL.revokeObjectURL(image.src);
      image.removeAttribute("src");
      part.file = part.chosen = null; part.accepted = false;
      part.show("choose");
    };
    inputs.forEach((input) => input.addEventListener("change", async () => {
      let file = input.files[0];
      if (!file) return;
      // Only one of the two inputs may carry a file; its value stays, for the plain form.
      inputs.forEach((other) => { if (other !== input) other.value = ""; });
      // Some browsers tell of the smaller photo, too, that is put into the input below.
      if (part.file && sameFile(file) === sameFile(part.file)) return;
      const chosen = part.chosen = file;
      all(box, ".problem").forEach((p) => p.remove());
      inputs.forEach((i) => i.removeAttribute("aria-invalid"));
      smaller.hidden = true;
      if (file.size > box.dataset.most) {
        if (box.dataset.shrinking && /^image\/(jpeg|png|webp)$/.test(file.type)) {
          part.says(box.dataset.shrinking);
          part.show("way");
          state.focus({ preventScroll: true });
          file = await shrink(file, box.dataset);
          // Another one was chosen meanwhile.
          if (part.chosen !== chosen) return;
          smaller.hidden = false;
        }
        if (!file || file.size > box.dataset.most || file !== chosen && !put(input, file)) { part.clear(); part.refuse(box.dataset.tooBig); return; }
      }
      const photo = file.type.startsWith("image/") ? "Photo" : "";
      if (file.size && file.size < box.dataset["least" + photo]) { part.clear(); part.refuse(box.dataset["tooSmall" + photo]); return; }
      part.file = file;
      if (image.src) URL.revokeObjectURL(image.src);
      const seen = /^image\/(jpeg|png)$/.test(file.type);
      if (seen) image.src = URL.createObjectURL(file);
      image.hidden = !seen;
      name.textContent = file.name; name.hidden = seen;
      for (const b of all(preview, "button")) {
        b.dataset.photo = b.dataset.photo || b.textContent;
        b.textContent = input.hasAttribute("capture") || seen && inputs.length < 2 ? b.dataset.photo : b.dataset.file;
      }
      part.show("preview");
      preview.scrollIntoView({ block: "nearest" });
      preview.querySelector(".ask").focus({ preventScroll: true });
    }));
    const back = () => { part.clear(); choose.querySelector("input").focus(); };
    // What the plain form sends is what was looked at.
    const put = (input, file) => {
      try {
        const list = new DataTransfer();
        list.items.add(file);
        part.file = file;
        input.files = list.files;
        return true;
      } catch { return false; }
    };
    find(".again").addEventListener("click", back);
    change.addEventListener("click", back);
    find(".use").addEventListener("click", () => {
      part.accepted = true;
      if (tus) upload(part).catch(plainly);
      else { part.says("✓ " + say.ready); part.show("way"); }
      next();
    });
    part.done = () => {
      part.sending = false; part.stored = true;
      all(choose, "input").forEach((i) => { i.disabled = true; });
      part.says("✓ " + say.stored);
      part.show("way");
    };
    part.focus = () => choose.querySelector("input").focus();
    return part;
  }

  // ---- A photo over the limit is made smaller here: of its quality and its size goes as little as possible, and never more than the part allows. ----
  async function shrink(file, { most, leastPhoto, minSide, maxSide }) {
    const photo = new Image(), canvas = document.createElement("canvas"), paint = canvas.getContext("2d");
    // A browser that hides its canvas from scripts would give a picture of something else.
    paint.fillStyle = "#369";
    paint.fillRect(0, 0, 1, 1);
    if ([...paint.getImageData(0, 0, 1, 1).data].some((value, i) => Math.abs(value - [51, 102, 153, 255][i]) > 8)) return null;
    photo.src = URL.createObjectURL(file);
    try {
      await photo.decode();
      // Upright already, as the photo's EXIF says.
      const { naturalWidth: width, naturalHeight: height } = photo, short = Math.min(width, height), long = Math.max(width, height);
      // With fewer pixels nobody could read it, whatever the part allows.
      const least = Math.min(1, Math.max(minSide || 0, 800) / short);
      // Common phones have no canvas of more than 16 million pixels.
      let scale = Math.min(1, Math.sqrt(16e6 / (width * height)), (maxSide || long) / long);
      while (scale >= least) {
        canvas.width = Math.round(width * scale);
        canvas.height = Math.round(height * scale);
        paint.fillStyle = "#fff";
        paint.fillRect(0, 0, canvas.width, canvas.height);
        paint.imageSmoothingQuality = "high";
        paint.drawImage(photo, 0, 0, canvas.width, canvas.height);
        let blob;
        for (const quality of [0.95, 0.9, 0.84, 0.76]) {
          blob = await new Promise((done) => { canvas.toBlob(done, "image/jpeg", quality); });
          if (blob.size > most) continue;
          return blob.size < leastPhoto ? null : new File([blob], file.name.replace(/\.\w+$/, "") + ".jpg", { type: blob.type, lastModified: file.lastModified });
        }
        if (scale === least) break;
        scale = Math.max(least, scale * Math.min(0.9, Math.sqrt(most / blob.size)));
      }
    } catch { /* no photo that this browser knows */ } finally { URL.revokeObjectURL(photo.src); }
    return null;
  }

  // On to the next part that still wants a file, or to the button.
  function next() {
    const wanting = parts.find((p) => !p.accepted);
    if (wanting) wanting.focus();
    else if (!send.hidden) send.focus();
    else parts.forEach((p) => { if (p.sending) form.querySelector(`[data-part="${p.name}"] .state`).focus(); });
  }

  form.addEventListener("submit", (event) => {
    const empty = parts.find((p) => !p.file);
    if (empty) { event.preventDefault(); empty.refuse(say.missing); return; }
    if (sending) { event.preventDefault(); return; }
    sending = true;
    send.setAttribute("aria-disabled", "true");
    tell(say.sending);
  });
  addEventListener("pageshow", (event) => {
    if (event.persisted) { location.reload(); return; }
    if (!open()) tell("");
  });
  addEventListener("beforeunload", (event) => { if (open() || !sending && parts.some((p) => p.accepted && !p.stored)) event.preventDefault(); });
  addEventListener("offline", () => { if (open() || sending) tell(say.offline); });
  addEventListener("online", () => { if (open()) tell(say.sending); });

  // ---- tus 1.0: creation, then PATCH after PATCH; HEAD says where to go on. ----
  const KIB64 = 65536, PATIENCE = 60000, TRIES = 12;

  // Sorted by what to do: `again` later, `gone` means a new upload, `words` are for the applicant, anything else ends in the plain form.
  class Failure extends Error { constructor(what) { super("upload"); Object.assign(this, what); } }

  async function ask(address, method, headers, body) {
    let answer;
    try {
      answer = await fetch(address, { method, body, cache: "no-store", redirect: "error", signal: AbortSignal.timeout(PATIENCE),
        headers: { "Tus-Resumable": "1.0.0", Accept: "application/problem+json", ...headers } });
    } catch { throw new Failure({ again: true }); }
    if (answer.ok) return answer;
    const problem = /json/.test(answer.headers.get("Content-Type")) ? await answer.json().catch(() => ({})) : {};
    // The answer to HEAD has no body: its code stands in a header.
    const code = answer.headers.get("Problem-Code") || problem.code, wait = Number(answer.headers.get("Retry-After")) * 1000 || 0, s = answer.status;
    if (/^link\.|^passcode\./.test(code)) throw new Failure({ reload: true });
    if (code === "upload.busy") throw new Failure({ again: true, wait, words: say.elsewhere });
    if (s === 409 && method === "PATCH" || code === "upload.cut_off" || s === 408 || s === 429 || s >= 500 && s !== 501) throw new Failure({ again: true, wait });
    if ((s === 404 || s === 410) && method !== "POST") throw new Failure({ gone: true });
    if (/^file\./.test(code) && problem.detail) throw new Failure({ refused: problem.detail });
    throw new Failure({});
  }

  const offsetOf = (answer, most) => {
    const at = Number(answer.headers.get("Upload-Offset") ?? NaN);
    if (!(at >= 0 && at <= most)) throw new Failure({});
    return at;
  };
  const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));
  // Where an upload stands is kept for this tab only, without the file's name: the same file chosen again after a reload goes on.
  const memory = (part) => here + "/" + part.name;
  const sameFile = (file) => file.size + "." + file.lastModified;
  const kept = (part) => { try { const [is, at] = sessionStorage.getItem(memory(part)).split(" "); return is === sameFile(part.file) && at; } catch { return null; } };
  const keep = (part, at) => { try { if (at) sessionStorage.setItem(memory(part), sameFile(part.file) + " " + at); else sessionStorage.removeItem(memory(part)); } catch { /* private mode */ } };

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

  async function upload(part) {
    const { file } = part;
    part.sending = true;
    part.show("way");
    part.progress(0);
    tell(say.sending);
    let address = kept(part), offset = address ? null : 0, piece = 4 * KIB64, fails = 0;
    const over = () => { keep(part); part.done(); tell(open() ? say.sending : ""); finish(); };
    while (part.file === file && tus) {
      try {
        if (!address && fails) {
          // Begun anew only if no other device has finished it meanwhile.
          const at = await ask(here + "/parts/" + part.name, "HEAD", {}).catch((f) => { if (!f.gone) throw f; });
          if (at && offsetOf(at, Infinity) === Number(at.headers.get("Upload-Length"))) return over();
        }
        if (!address) { address = await create(part); offset = 0; }
        if (offset === null) offset = offsetOf(await ask(address, "HEAD", {}), Infinity);
        part.progress(offset);
        if (offset < file.size) {
          const from = performance.now();
          const answer = await ask(address, "PATCH", { "Content-Type": "application/offset+octet-stream", "Upload-Offset": String(offset) }, file.slice(offset, offset + piece));
          const reached = offsetOf(answer, file.size);
          // A piece takes about a second: small on a weak line, so that little is lost, and large on a good one.
          const better = piece * 1000 / Math.max(50, performance.now() - from);
          piece = Math.max(1, Math.min(64, Math.round(Math.min(better, piece * 2) / KIB64))) * KIB64;
          if (reached > offset) fails = 0;
          offset = reached;
          part.progress(offset);
          tell(navigator.onLine ? say.sending : say.offline);
        }
        if (offset >= file.size) return over();
      } catch (failure) {
        if (failure.again && (fails += 1) <= TRIES) {
          tell(navigator.onLine ? failure.words || say.retrying : say.offline);
          piece = Math.max(KIB64, piece / 2);
          await pause(failure.wait || Math.min(30000, 500 * 2 ** fails) * (0.5 + Math.random() / 2));
          if (address) offset = null;
        } else if (failure.gone && (fails += 1) <= 3) { keep(part); address = null; }
        else if (failure.reload) { parts.forEach((p) => { p.sending = false; p.accepted = false; }); location.reload(); return; }
        else if (failure.refused) { keep(part); part.clear(); part.refuse(failure.refused); tell(open() ? say.sending : ""); return; }
        else { keep(part); plainly(); return; }
      }
    }
    part.sending = false;
  }

  // Ends early when the connection is back.
  const pause = (time) => new Promise((go) => { const end = () => { removeEventListener("online", end); clearTimeout(timer); go(); }, timer = setTimeout(end, time); addEventListener("online", end); });

  // Everything is stored: the same address is the receipt now.
  function finish() {
    if (!parts.every((p) => p.stored)) return;
    tell(say.finishing);
    location.replace(form.action);
  }

  // Back to the plain form: the inputs still hold what was chosen.
  function plainly() {
    tus = false;
    send.hidden = false;
    tell(say.failed);
    for (const p of parts) if (p.accepted && !p.stored) { p.sending = false; p.says("✓ " + say.ready); p.show("way"); }
    send.focus();
  }
})();
