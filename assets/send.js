// How the upload page sends what was chosen, loaded with the first file: part by part over tus 1.0, which goes on by itself after a lost connection, or the whole form.
// The server appends `say`, the words of this file in the page's language.
export function sender(page) {
  const { form, goal, here, parts, send, fill, tell, read } = page, locale = document.documentElement.lang + "-u-nu-latn";

  // What holds for all parts that are being sent is said once, beside the first of them.
  const once = (part, words) => part.tell(parts.find((p) => p.sending) === part ? words : "");
  function progress(part, bytes, time) {
    const { bar } = part;
    // Full only once the server has said that it is stored; of no length until something has arrived.
    if (bytes) bar.value = Math.min(99, Math.floor(100 * bytes / part.file.size));
    else bar.removeAttribute("value");
    part.says(fill(time ? say.progressTime : say.progress, { sent: megabytes(bytes), total: fill(say.megabytes, { count: megabytes(Math.max(1e5, part.file.size)) }), time }));
    bar.setAttribute("aria-valuetext", part.state.textContent);
  }
  for (const line of ["offline", "online"]) {
    addEventListener(line, () => {
      const words = line === "offline" ? say.offline : say.sending;
      for (const p of parts) if (p.sending) once(p, words);
      if (page.sending) tell(words);
    });
  }

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

  // Where a part stands, whoever sends it; nothing where it was not begun.
  async function stand(part) {
    const answer = await ask(here + "/parts/" + part.name, "HEAD", {}).catch((f) => { if (!f.gone) throw f; });
    return answer && { offset: offsetOf(answer, Infinity), length: Number(answer.headers.get("Upload-Length")) };
  }

  async function create(part) {
    const answer = await ask(here + "/parts/" + part.name, "POST", {
      "Upload-Length": String(part.file.size),
      "Upload-Metadata": "filename " + base64(part.file.name) + ",filetype " + base64(part.file.type) + (part.lengths ? ",photos " + base64(part.lengths) : ""),
    });
    const at = new URL(answer.headers.get("Location") || "", location.href);
    if (answer.status !== 201 || !answer.headers.get("Location") || at.origin !== location.origin) throw new Failure({});
    keep(part, at.pathname + at.search);
    return at.pathname + at.search;
  }

  // What was begun of a part goes before anything else of it comes.
  async function remove(part, begun) {
    keep(part);
    if (begun) await ask(here + "/parts/" + part.name, "DELETE").catch((failure) => { if (failure.reload) page.leave(); });
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
    const mine = () => part.run === run && page.tus;
    part.sending = true;
    part.show("way");
    progress(part, 0);
    once(part, say.sending);
    // What was taken away of it is forgotten only then.
    await part.removed;
    let address = kept(part), offset = address ? null : 0, piece = KIB64, fails = 0;
    const others = () => parts.forEach((p) => { if (p.sending) once(p, say.sending); });
    const over = () => { keep(part); part.done(); others(); finish(); };
    while (mine()) {
      try {
        if (!address && fails) {
          // Begun anew only if no other device has finished it meanwhile.
          const at = await stand(part);
          if (at && at.offset === at.length) return over();
        }
        if (!address) { address = await create(part); offset = 0; }
        if (offset === null) offset = offsetOf(await ask(address, "HEAD", {}), Infinity);
        if (!mine()) return;
        progress(part, offset, time(offset));
        if (offset < file.size) {
          piece = Math.min(piece, most);
          const bytes = await read(file, offset, Math.min(file.size, offset + piece)), from = performance.now();
          if (!bytes) throw new Failure({ refused: say.unreadable });
          const answer = await ask(address, "PATCH", { "Content-Type": "application/offset+octet-stream", "Upload-Offset": String(offset) }, bytes);
          if (!mine()) return;
          const reached = offsetOf(answer, file.size);
          // A piece takes about a second: small on a weak line, so that little is lost and something moves at once, and large on a good one.
          const better = piece * 1000 / Math.max(50, performance.now() - from);
          piece = Math.max(1, Math.min(64, Math.round(Math.min(better, piece * 4) / KIB64))) * KIB64;
          if (reached > offset) fails = 0;
          offset = reached;
          progress(part, offset, time(offset));
          once(part, navigator.onLine ? say.sending : say.offline);
        }
        if (offset >= file.size) return over();
      } catch (failure) {
        if (!mine()) return;
        if (failure.again && (fails += 1) <= TRIES) {
          if (navigator.onLine) part.tell(failure.words || say.retrying);
          else once(part, say.offline);
          piece = Math.max(KIB64, piece / 2);
          await pause(failure.wait || Math.min(30000, 500 * 2 ** fails) * (0.5 + Math.random() / 2));
          if (address) offset = null;
        } else if (failure.smaller && piece > KIB64) {
          // A proxy takes no body of this size, and none of the next pieces.
          most = piece = Math.max(KIB64, Math.floor(Math.min(piece, file.size - offset) / 2 / KIB64) * KIB64);
          offset = null;
        } else if (failure.gone && (fails += 1) <= 3) { keep(part); address = null; }
        else if (failure.reload) { page.leaving = true; location.reload(); return; }
        else if (failure.refused) {
          keep(part);
          part.refuse(failure.refused);
          others();
          return;
        } else { keep(part); page.plainly(); return; }
      }
    }
  }

  // Ends early when the connection is back.
  function pause(time) { return new Promise((go) => { const end = () => { removeEventListener("online", end); clearTimeout(timer); go(); }, timer = setTimeout(end, time); addEventListener("online", end); }); }

  // Everything is stored.
  function finish() {
    if (!page.tus || !parts.every((p) => p.stored)) return;
    tell(say.finishing);
    page.leave();
  }

  // The plain form, sent from here: so that a foreign answer, such as that of a proxy that takes no body of this size, can be told in words.
  async function submit() {
    if (page.sending) return;
    const empty = parts.find((p) => !p.file && !p.stored);
    if (empty) { empty.refuse(say.missing); return; }
    const over = (words) => { page.sending = false; send.removeAttribute("aria-disabled"); tell(words); };
    page.sending = true;
    send.setAttribute("aria-disabled", "true");
    tell(say.sending);
    for (const p of parts) {
      if (!p.stored && !await read(p.file, 0, 1)) { over(""); p.refuse(say.unreadable); return; }
    }
    try {
      const answer = await fetch(goal, { method: "POST", body: new FormData(form), headers: { Accept: "text/html" } }), text = await answer.text();
      if (answer.ok) { page.leave(); return; }
      if (!text.includes("/assets/portal.css")) { over(answer.status === 413 ? say.limited : say.cut); return; }
      page.leaving = true;
      document.open();
      document.write(text);
      document.close();
    } catch { over(say.cut); }
  }

  return { upload, stand, remove, submit };
}
