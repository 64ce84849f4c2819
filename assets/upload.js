// Makes the form kinder where scripts run; without this file everything works all the same.
// Times in the reader's own zone; a preview with its question; and, where the form says data-tus, each part is sent as soon as it is accepted.
// What is needed only when a file is chosen comes then, with its words, from send.js and photo.js: most of a first visit's time is spent on the line.
// Whatever fails unexpectedly leads back to the plain form.
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
  // As the stylesheet says it.
  const desktop = matchMedia("(hover: hover) and (pointer: fine)").matches;
  // `tus`: parts are sent one by one. `sending`: the form is being sent. `leaving`: this page is over.
  const page = { form, goal, here, tus: "tus" in form.dataset, sending: false, leaving: false };
  const photos = later(form.dataset.photos), sender = later(form.dataset.sender, (script) => script.sender(page));

  const fill = (text, slots) => text.replace(/\{(\w+)\}/g, (_, name) => slots[name]);
  const put = (at, words) => { if (at.textContent !== words) at.textContent = words; };
  const tell = (words) => put(status, words);
  const parts = all(form, "fieldset").map(step);
  const open = () => parts.some((p) => p.sending);
  Object.assign(page, { parts, send, fill, tell, read, leave, plainly });
  root.classList.add("js");
  if (page.tus) send.hidden = true;

  // Said once: somebody is here. What only fetches a link does not act on its page.
  const acts = ["pointerdown", "keydown", "wheel"], opened = () => {
    acts.forEach((act) => removeEventListener(act, opened));
    if (navigator.sendBeacon) navigator.sendBeacon(here + "/opened");
  };
  acts.forEach((act) => addEventListener(act, opened, { passive: true }));

  // A script that is loaded when it is first asked for. One that failed to load stays so under its address; what stands behind the # is not asked for.
  function later(address, ready = (script) => script) {
    let tries = 0, got;
    return () => got = got || import(address + (tries ? "#" + tries : "")).then(ready).catch((failure) => { got = null; tries += 1; throw failure; });
  }

  function step(box) {
    const find = (what) => box.querySelector(what), data = box.dataset, fold = find("details");
    if (fold) { find(".stored").remove(); fold.replaceWith(...fold.querySelectorAll(".quiet, .choose")); }
    const choose = find(".choose"), preview = find(".preview"), way = find(".way"), state = find(".state"), bar = find("progress"), change = find(".change");
    const image = find("img"), zoom = find(".zoom"), warning = find(".warning"), name = find(".file"), smaller = find(".smaller"), note = find(".status"), hint = all(box, ".quiet"), inputs = all(choose, "input"), pager = find("[multiple]");
    const part = { box, bar, state, hint: hint[0], name: data.part, file: null, accepted: false, sending: false, stored: false, chosen: null, run: null, removed: null };

    part.show = (what) => {
      choose.hidden = what !== "choose";
      hint.forEach((h) => { h.hidden = what !== "choose"; });
      preview.hidden = what !== "preview";
      if (pager) {
        // A photo can be followed by more of them.
        const more = pager.parentNode, label = more.firstElementChild, adds = what === "preview";
        if (adds) preview.insertBefore(more, preview.querySelector(".ask"));
        else choose.append(more);
        more.hidden = adds && !image.src && !part.pages;
        label.dataset.first = label.dataset.first || label.textContent;
        label.textContent = adds ? label.dataset.more : label.dataset.first;
      }
      way.hidden = what !== "way";
      bar.hidden = !part.sending;
      data.state = part.stored || part.accepted && !part.sending ? "done" : what;
    };
    part.says = (words) => { state.textContent = words; };
    part.tell = (words) => put(note, words);
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
      all(preview, "ol").forEach((list) => list.remove());
      part.file = part.chosen = part.run = part.pages = null; part.accepted = part.sending = part.stored = false;
      inputs.forEach((i) => { i.disabled = false; });
      part.tell("");
      part.show("choose");
    };
    part.heal = () => {
      all(box, ".problem").forEach((p) => p.remove());
      inputs.forEach((i) => i.removeAttribute("aria-invalid"));
    };
    async function pick(input, given) {
      let file = given;
      // Only one of the two inputs may carry a file; its value stays, for the plain form.
      inputs.forEach((other) => { if (other !== input) other.value = ""; });
      part.lengths = "";
      const chosen = part.chosen = file;
      part.heal();
      smaller.textContent = "";
      // Needed next, and the connection is as good now as it will be.
      if (page.tus) sender().catch(() => {});
      const head = await read(file, 0, Math.min(32, file.size));
      if (part.chosen !== chosen) return;
      if (!head) { part.refuse(say.unreadable); return; }
      // Without the helper the server looks at it, and says what is wrong.
      const helper = await photos().catch(() => null), kind = helper && helper.kindOf(head);
      if (part.chosen !== chosen) return;
      // What the server will not take is said before it is sent, and never shown as if it were fine.
      const wrong = (words, slots) => part.refuse(fill(helper.say[words], slots));
      if (kind && !data.types.split(" ").includes(kind)) { wrong(/^(WebP|AVIF)$/.test(kind) ? "otherFormat" : "notAccepted", { found: kind }); return; }
      const seen = kind === "JPEG" || kind === "PNG";
      if (helper && file.size > data.most) {
        const most = { most: data.size };
        if ("scales" in data && seen) {
          part.says(fill(helper.say.shrinking, most));
          part.show("way");
          state.focus({ preventScroll: true });
          file = await helper.shrink(chosen, data).catch(() => null);
          // Another one was chosen meanwhile.
          if (part.chosen !== chosen) return;
          smaller.textContent = fill(helper.say.smaller, most) + " ";
        }
        if (!file || file.size > data.most || file !== chosen && !place(input, file)) { wrong("tooBig", most); return; }
      }
      const least = kind && kind !== "PDF" ? "LeastPhoto" : "Least";
      if (helper && file.size && file.size < data[least.replace("L", "l")]) { wrong("tooSmall", { least: data["size" + least] }); return; }
      part.file = file;
      if (image.src) URL.revokeObjectURL(image.src);
      if (seen) image.src = URL.createObjectURL(file);
      else image.removeAttribute("src");
      zoom.hidden = !seen;
      put(warning, "");
      if (seen) {
        image.addEventListener("load", () => {
          try {
            const words = part.file === file && helper.say[helper.judge(image, data.minSide)];
            if (words) put(warning, words + " " + helper.say.anyway);
          // Where that fails, nothing is said.
          } catch {}
        }, { once: true });
      }
      name.textContent = file.name; name.hidden = seen;
      for (const b of all(preview, "button[data-file]")) {
        b.dataset.photo = b.dataset.photo || b.textContent;
        b.textContent = input.hasAttribute("capture") || seen && inputs.length < 2 ? b.dataset.photo : b.dataset.file;
      }
      part.ask();
    }
    part.ask = () => {
      part.show("preview");
      preview.scrollIntoView({ block: "nearest" });
      preview.querySelector(".ask").focus({ preventScroll: true });
    };
    inputs.forEach((input) => input.addEventListener("change", () => {
      const file = input.files[0];
      if (input === pager) {
        if (page.tus) sender().catch(() => {});
        const added = [...input.files], before = part.pages || (image.src ? [part.chosen] : []);
        if (file) photos().then((helper) => helper.pages(part, [...before, ...added], say.unreadable, place)).catch(plainly);
        return;
      }
      // Some browsers tell of the smaller photo, too, that is put into the input below.
      if (file && !(part.file && file.size === part.file.size && file.lastModified === part.file.lastModified)) pick(input, file).catch(plainly);
    }));
    const back = part.back = () => { part.clear(); part.focus(); };
    // Until the last side is here any of them can be taken again. What has arrived of it goes first: the document must not be completed with it meanwhile.
    change.addEventListener("click", () => {
      if (page.tus) {
        const begun = part.stored || part.sending;
        part.removed = sender().then((s) => s.remove(part, begun)).catch(() => {});
      }
      back();
    });
    zoom.addEventListener("click", () => photos().then((helper) => helper.enlarge(image)).catch(() => {}));
    part.drop = (file) => { const input = find("input:not([capture])"); if (place(input, file)) pick(input, file).catch(plainly); };
    part.waits = () => !part.accepted && !part.stored;
    // What the plain form sends is what was looked at.
    const place = (input, ...files) => {
      try {
        const list = new DataTransfer();
        files.forEach((file) => list.items.add(file));
        part.file = files[0];
        input.files = list.files;
        return true;
      } catch { return false; }
    };
    find(".again").addEventListener("click", back);
    find(".use").addEventListener("click", () => {
      part.accepted = true;
      if (page.tus) begin(part).catch(plainly);
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
    // A desktop has files rather than a camera.
    if (desktop && inputs.length > 1) choose.append(choose.firstElementChild);
    if (fold) { delete data.stored; part.done(); }
    return part;
  }

  if (desktop) import(form.dataset.desktop).then((helper) => {
    helper.dropping(parts);
    helper.watch({ parts, leave, busy: () => open() || page.sending || page.leaving, stand: (part) => sender().then((s) => s.stand(part)) });
  }).catch(() => {});

  // The script that sends is on its way since the file was chosen; a weak line may need more than one try.
  async function begin(part) {
    const { file } = part;
    part.sending = true;
    part.says("");
    part.show("way");
    for (let tries = 0; part.file === file && page.tus; tries += 1) {
      const s = await sender().catch((failure) => { if (tries > 4) throw failure; });
      if (part.file !== file || !page.tus) return;
      if (s) return s.upload(part);
      part.tell(say.retrying);
      await new Promise((go) => { setTimeout(go, 1000 * 2 ** tries); });
    }
  }

  // On to the next part that still wants a file, or to the button; what is being sent stays in sight.
  function next() {
    const wanting = parts.find((p) => !p.accepted && !p.stored), moving = parts.find((p) => p.sending);
    if (wanting) { wanting.focus(); wanting.box.scrollIntoView({ block: "nearest" }); }
    else if (!send.hidden) send.focus();
    else if (moving) moving.box.querySelector(".state").focus();
    if (moving) moving.box.scrollIntoView({ block: "nearest" });
  }

  // The bytes, or nothing where this device does not give them any more: what lies in a cloud, or was changed since it was chosen.
  async function read(file, from, to) {
    try {
      const bytes = await file.slice(from, to).arrayBuffer();
      if (bytes.byteLength === to - from) return bytes;
    // What fails is told by whoever asked.
    } catch {}
    return null;
  }

  // The plain form; where its script does not come, as a browser sends it.
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    sender().then((s) => s.submit()).catch(() => {
      page.leaving = true;
      HTMLFormElement.prototype.submit.call(form);
    });
  });
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  addEventListener("beforeunload", (event) => { if (!page.leaving && (open() || page.sending || parts.some((p) => p.accepted && !p.stored))) event.preventDefault(); });

  // ---- The same link in another tab or on another device: once it has been used there, this page says so, too. Asking changes nothing. ----
  let looked = 0;
  async function look({ type }) {
    if (open() || page.sending || page.leaving || type !== "message" && (document.hidden || Date.now() - looked < 10000)) return;
    // Pages are counted for each address, and many people may share one.
    looked = Date.now();
    try {
      const answer = await fetch(goal, { headers: { Accept: "application/json" }, cache: "no-store" });
      if (!/json/.test(answer.headers.get("Content-Type"))) return;
      const { state, code } = await answer.json();
      if (!open() && !page.sending && (state === "received" || /^link\./.test(code))) leave();
    // Asked again the next time.
    } catch {}
  }
  if (channel) channel.onmessage = look;
  document.addEventListener("visibilitychange", look);

  // The same address is the receipt now.
  function leave() { page.leaving = true; location.replace(goal); }

  // Back to the plain form: the inputs still hold what was chosen.
  function plainly() {
    page.tus = false;
    send.hidden = false;
    tell(say.failed);
    for (const p of parts) if (p.accepted && !p.stored) { p.sending = false; p.tell(""); p.says("✓ " + say.ready); p.show("way"); }
    send.focus();
  }
})();
