// What the upload page does with photos, loaded with the first one that is chosen: looking closely, making smaller, and saying when it can hardly be read. The server appends `say`, the words of this file in the page's language.
// ---- The whole screen for a closer look; Escape, a tap or the button closes it, and the focus returns. ----
export function enlarge(image) {
  const dialog = document.createElement("dialog"), close = document.createElement("button"), large = new Image();
  if (!dialog.showModal) return;
  close.textContent = say.close;
  large.src = image.src;
  large.alt = image.alt;
  dialog.className = "large";
  dialog.setAttribute("aria-label", image.parentNode.getAttribute("aria-label"));
  dialog.append(close, large);
  dialog.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => { dialog.remove(); image.parentNode.focus(); });
  document.body.append(dialog);
  dialog.showModal();
}

// ---- A photo over the limit is made smaller here: of its quality and its size goes as little as possible, and never more than the part allows. ----
export async function shrink(file, { most, leastPhoto, minSide, maxSide }) {
  const photo = new Image(), canvas = document.createElement("canvas"), paint = canvas.getContext("2d");
  if (!honest(paint)) return null;
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

// ---- Whether a photo can be read, as far as a small copy shows (docs/decisions/photo-check.md). Rather a bad photo too many is called fine than a good one bad. ----
export function judge(photo, least) {
  const { naturalWidth: width, naturalHeight: height } = photo, scale = Math.min(1, 1024 / Math.max(width, height));
  const canvas = document.createElement("canvas"), w = canvas.width = Math.round(width * scale), h = canvas.height = Math.round(height * scale), paint = canvas.getContext("2d");
  if (!honest(paint)) return "";
  if (Math.min(width, height) < Math.max(least || 0, 480)) return "small";
  paint.drawImage(photo, 0, 0, w, h);
  const { data } = paint.getImageData(0, 0, w, h), grey = new Uint8Array(w * h), light = new Uint32Array(256);
  for (let i = 0; i < grey.length; i += 1) light[grey[i] = (data[4 * i] * 77 + data[4 * i + 1] * 150 + data[4 * i + 2] * 29) >> 8] += 1;
  const sum = (counts) => counts.reduce((a, b) => a + b, 0);
  const rank = (counts, share) => { let left = share * sum(counts), at = 0; while (at < counts.length - 1 && (left -= counts[at]) >= 0) at += 1; return at; };
  if (rank(light, 0.95) < 56) return "dark";
  // How steep the steepest edges are: all of a step within two pixels, or no more of it than of a ramp of eight.
  const [across, down] = [1, w].map((step) => {
    const slopes = new Uint32Array(33);
    for (let y = 4; y < h - 4; y += 2) {
      for (let i = y * w + 4; i < y * w + w - 4; i += 1) {
        const wide = Math.abs(grey[i + 4 * step] - grey[i - 4 * step]);
        if (wide > 40) slopes[Math.min(32, Math.round(32 * Math.abs(grey[i + step] - grey[i - step]) / wide))] += 1;
      }
    }
    return sum(slopes) < 300 ? 0 : rank(slopes, 0.9);
  });
  if (across + down && Math.max(across, down) < 12) return "blurred";
  // A reflection is white without any detail, bright all around, and lies inside the picture.
  const wide = w >> 3, tiles = new Uint8Array(wide * (h >> 3));
  for (let t = 0; t < tiles.length; t += 1) {
    let darkest = 255, total = 0;
    for (let y = 0; y < 8; y += 1) for (let x = 0; x < 8; x += 1) { const g = grey[((t / wide | 0) * 8 + y) * w + t % wide * 8 + x]; darkest = Math.min(darkest, g); total += g; }
    tiles[t] = darkest >= 250 ? 2 : total > 64 * 225 ? 1 : 0;
  }
  for (let t = 0; t < tiles.length; t += 1) {
    if (tiles[t] !== 2) continue;
    let size = 0, rim = 0, bright = 0, edge = false;
    for (const stack = [t]; stack.length;) {
      const at = stack.pop(), x = at % wide;
      if (tiles[at] === 3) continue;
      tiles[at] = 3; size += 1;
      if (!x || x === wide - 1 || at < wide || at >= tiles.length - wide) { edge = true; continue; }
      for (const next of [at - 1, at + 1, at - wide, at + wide]) {
        if (tiles[next] === 2) stack.push(next);
        else if (tiles[next] < 2) { rim += 1; bright += tiles[next]; }
      }
    }
    if (!edge && size > tiles.length * 0.004 && size < tiles.length * 0.2 && bright > rim * 0.9) return "glare";
  }
  return "";
}

// A browser that hides its canvas from scripts would give a picture of something else.
function honest(paint) {
  paint.fillStyle = "#369";
  paint.fillRect(0, 0, 1, 1);
  return [...paint.getImageData(0, 0, 1, 1).data].every((value, i) => Math.abs(value - [51, 102, 153, 255][i]) <= 8);
}

// ---- Photos of several pages: shown in their order, to be moved and taken out, and one upload that the portal makes a PDF of. ----
export async function pages(part, list, unreadable, place) {
  const { box } = part, { most, minSide, size } = box.dataset, find = (what) => box.querySelector(what), preview = find(".preview"), state = find(".state"), pager = find("[multiple]");
  const again = (changed) => (changed.length ? pages(part, changed, unreadable, place) : part.back());
  part.chosen = list;
  part.heal();
  const heads = await Promise.all(list.map((file) => file.slice(0, 32).arrayBuffer().catch(() => null)));
  if (part.chosen !== list) return;
  if (!heads.every((head) => head && head.byteLength)) { part.refuse(unreadable); return; }
  if (!heads.every((head) => /JPEG|PNG/.test(kindOf(head)))) { part.refuse(say.notAPage); return; }
  // What a page costs besides its photo.
  const room = most / list.length - 1500, total = list.reduce((sum, file) => sum + file.size, 0), files = [];
  for (const [i, file] of list.entries()) {
    const head = new Uint8Array(heads[i]);
    // The portal decodes nothing: a PNG that is transparent or interlaced becomes a JPEG here.
    const odd = kindOf(heads[i]) === "PNG" && (head[25] > 3 || head[28] > 0), large = total > room * list.length && file.size > room;
    if (odd || large) {
      if ("scales" in box.dataset) { state.textContent = say.shrinking.replace("{most}", size); part.show("way"); state.focus({ preventScroll: true }); }
      files.push(await shrink(file, { most: Math.min(room, most), leastPhoto: 0, minSide }));
    } else files.push(file);
    if (part.chosen !== list) return;
  }
  if (files.includes(null)) { part.refuse(say.tooBig.replace("{most}", size)); return; }
  for (const input of box.querySelectorAll("input")) if (input !== pager) input.value = "";
  place(pager, ...files);
  part.file = new File(files, "photos.pdf", { lastModified: list.reduce((sum, file) => sum + file.lastModified, 0) });
  part.lengths = files.map((file) => file.size).join();
  part.pages = list;
  find(".zoom").hidden = find(".file").hidden = true;
  find(".smaller").textContent = "";
  find(".warning").textContent = "";
  for (const b of preview.querySelectorAll("button[data-file]")) { b.dataset.photo = b.dataset.photo || b.textContent; b.textContent = b.dataset.file; }
  const shown = preview.querySelector("ol") || document.createElement("ol"), image = find(".zoom img");
  for (const old of shown.querySelectorAll("img")) URL.revokeObjectURL(old.src);
  if (image.src) { URL.revokeObjectURL(image.src); image.removeAttribute("src"); }
  shown.className = "pages";
  shown.replaceChildren(...files.map((file, i) => {
    const li = document.createElement("li"), img = new Image(), title = say.page.replace("{number}", i + 1), warning = document.createElement("p");
    const button = (words, changed) => {
      const b = document.createElement("button");
      b.type = "button"; b.textContent = words;
      b.setAttribute("aria-label", words + ": " + title);
      b.addEventListener("click", () => again(changed()));
      return b;
    };
    img.alt = title;
    img.addEventListener("load", () => { const words = say[judge(img, minSide)]; if (words) warning.textContent = words + " " + say.anyway; }, { once: true });
    img.src = URL.createObjectURL(file);
    li.append(title, img, warning);
    if (i) li.append(button(say.earlier, () => list.map((f, n) => n === i - 1 ? list[i] : n === i ? list[i - 1] : f)));
    li.append(button(say.remove, () => list.filter((f, n) => n !== i)));
    return li;
  }));
  preview.prepend(shown);
  part.ask();
}

// ---- What a file is, by its first bytes: names and declared types are only somebody's word. `null`: the server will see. ----
export function kindOf(bytes) {
  const head = String.fromCharCode(...new Uint8Array(bytes)), brands = head.slice(8, 12) + head.slice(16);
  if (head.startsWith("\xff\xd8\xff")) return "JPEG";
  if (head.startsWith("\x89PNG\r\n")) return "PNG";
  if (/^%PDF-/.test(head)) return "PDF";
  if (/^RIFF[^]{4}WEBP/.test(head)) return "WebP";
  if (!/^[^]{4}ftyp/.test(head)) return null;
  return /^(....)*avi[fs]/.test(brands) ? "AVIF" : /^(....)*he[iv][cxms]/.test(brands) ? "HEIC" : null;
}
