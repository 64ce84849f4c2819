// How files are chosen, looked at, sent and taken again. Arguments: links and files, made by tests/it/browser/devices.rs. Says which files the portal must have passed on.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { accessible, check, clean, desktop, fits, inView, launch, shot, specimen, tall, visit } from "./kit.mjs";

const given = JSON.parse(process.argv[2]);
const browser = await launch();
const input = (page, part = "front") => page.locator(`fieldset[data-part=${part}] input:not([capture])`);
const use = (page, part = "front") => page.locator(`fieldset[data-part=${part}] .use`).click();
const received = (page) => page.getByRole("heading", { name: "Received. Thank you." }).waitFor();
const arrived = (page, part) => page.locator(`fieldset[data-part=${part}]`).getByText("Received and encrypted").waitFor();
const digest = (path) => createHash("sha256").update(readFileSync(path)).digest("hex");
const phone = { viewport: tall, isMobile: true, hasTouch: true };
const sent = [];
try {
  await specimen(browser, given.photo);
  for (const story of [draggedAndPasted, lookedAtClosely, cameras, toldWhileSending, takenAgain, takenAgainWhileSending, takenAgainWithoutScript, keptWithoutScript, judged]) await story();
  console.log(JSON.stringify(sent));
} finally {
  await browser.close();
}

async function close(page, words) {
  clean(page, words);
  await page.context().close();
}

// A file as a drag or the clipboard carries it.
async function carry(page, kind, target, path) {
  await page.evaluate(([kind, target, bytes]) => {
    const data = new DataTransfer();
    data.items.add(new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], "photo.png", { type: "image/png" }));
    const at = document.querySelector(target);
    at.dispatchEvent(kind === "paste" ? new ClipboardEvent(kind, { clipboardData: data, bubbles: true, cancelable: true }) : new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
  }, [kind, target, readFileSync(path).toString("base64")]);
}

async function draggedAndPasted() {
  const page = await visit(browser, { viewport: desktop });
  await page.goto(given.dragged);
  check(await page.locator("fieldset[data-part=front] label").allInnerTexts().then((words) => words.join()) === "Choose a file,Take a photo", "a desktop has files rather than a camera");
  check(await page.getByText("You can also drop the file here").first().isVisible(), "it says that files may be dropped");
  await carry(page, "dragover", "fieldset[data-part=back] .choose", given.photo);
  check(await page.locator("fieldset.over").getAttribute("data-part") === "back", "the part under the file is marked");
  await shot(page, "desktop-dragging");
  await carry(page, "dragleave", "fieldset[data-part=back] .choose", given.photo);
  check(await page.locator("fieldset.over").count() === 0, "and no longer");
  await carry(page, "drop", "fieldset[data-part=back] .choose", given.photo);
  await page.locator("fieldset[data-part=back] .preview").waitFor();
  await carry(page, "paste", "body", given.photo);
  await page.locator("fieldset[data-part=front] .preview").waitFor();
  await accessible(page, "two previews on a desktop");
  await shot(page, "desktop-previews");
  await use(page, "back");
  await use(page, "front");
  await received(page);
  sent.push([digest(given.photo), digest(given.photo)]);
  await close(page, "dragged and pasted");
}

async function lookedAtClosely() {
  const page = await visit(browser, { viewport: tall });
  await page.goto(given.looked);
  await input(page).setInputFiles(given.photo);
  const zoom = page.getByRole("button", { name: "Enlarge the photo" });
  await zoom.focus();
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog", { name: "Enlarge the photo" });
  await dialog.waitFor();
  const { width } = await dialog.locator("img").boundingBox();
  check(width > 1.5 * (await page.locator(".preview").boundingBox()).width, `it is larger: ${width}`);
  await accessible(page, "the enlarged photo");
  await page.screenshot({ path: `${process.env.NIGHTDROP_TEST_OUTPUT}/phone-enlarged.png` });
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  check(await zoom.evaluate((e) => e === document.activeElement), "the focus is back");
  await zoom.click();
  await page.getByRole("button", { name: "Close" }).click();
  await dialog.waitFor({ state: "detached" });
  await close(page, "a closer look");
}

async function cameras() {
  const page = await visit(browser, phone);
  for (const [url, camera] of [[given.selfie, "user"], [given.looked, "environment"]]) {
    await page.goto(url);
    check(await page.locator("input[capture]").getAttribute("capture") === camera, `${camera} is the camera`);
    check(await page.locator("label").first().innerText() === "Take a photo", "a phone has a camera first");
  }
  await page.goto(given.selfie);
  await shot(page, "selfie-phone");
  await close(page, "cameras");
}

// On a slow line: something moves at once, the words stand beside their part, and the time that is left does not jump.
async function toldWhileSending() {
  const page = await visit(browser, phone);
  await page.goto(given.told);
  const line = await page.context().newCDPSession(page);
  const throttle = (rate) => line.send("Network.emulateNetworkConditions", { offline: false, latency: 100, downloadThroughput: -1, uploadThroughput: rate });
  await throttle(200_000);
  await input(page).setInputFiles(given.noise);
  await page.evaluate(() => {
    const state = document.querySelector("fieldset[data-part=front] .state");
    window.told = [];
    new MutationObserver(() => window.told.push([performance.now(), state.textContent])).observe(state, { childList: true, characterData: true, subtree: true });
  });
  const start = await page.evaluate(() => performance.now());
  await use(page);
  await page.waitForFunction(() => window.told.some(([, words]) => /about/.test(words)), undefined, { timeout: 20_000 });
  const box = page.locator("fieldset[data-part=front]");
  await inView(page, box.locator(".state"), "how far it is");
  await inView(page, box.locator(".status").getByText("Still sending – do not close this page."), "what is going on");
  check(await input(page, "back").evaluate((e) => e.parentNode.parentNode.contains(document.activeElement)), "focus is at the next side");
  await accessible(page, "while it is sent");
  await page.screenshot({ path: `${process.env.NIGHTDROP_TEST_OUTPUT}/phone-sending.png` });
  await line.send("Network.emulateNetworkConditions", { offline: true, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
  await box.locator(".status").getByText("No connection.").waitFor();
  await inView(page, box.locator(".status"), "the lost connection");
  await page.screenshot({ path: `${process.env.NIGHTDROP_TEST_OUTPUT}/phone-offline.png` });
  await throttle(400_000);
  await arrived(page, "front");
  const told = await page.evaluate(() => window.told);
  const moved = told.find(([, words]) => /^0\.[1-9] of /.test(words));
  check(moved[0] - start < 1500, `it moved after ${moved[0] - start} ms`);
  const words = told.map(([, text]) => text).filter((text) => /about/.test(text));
  check(words.every((text) => /^\d\.\d of 2\.0 MB, about (5|10|15|20|25|30|35|40|45|50|55) seconds$|about \d minutes?$/.test(text)), `${words}`);
  await input(page, "back").setInputFiles(given.photo);
  await use(page, "back");
  await received(page);
  sent.push([digest(given.noise), digest(given.photo)]);
  page.faults = page.faults.filter((fault) => !/ERR_INTERNET_DISCONNECTED/.test(fault));
  await close(page, "told while sending");
}

// A side that has arrived is taken again: the first one is gone before the other side can complete the document with it.
async function takenAgain() {
  const page = await visit(browser, phone);
  await page.goto(given.again);
  await input(page).setInputFiles(given.noise);
  await use(page);
  await arrived(page, "front");
  await page.reload();
  await arrived(page, "front");
  await accessible(page, "a side that can be changed");
  await page.getByRole("button", { name: "Change" }).first().click();
  await input(page, "back").setInputFiles(given.photo);
  await use(page, "back");
  await arrived(page, "back");
  check(await input(page).isVisible(), "the front is asked for again");
  check(await page.locator("fieldset[data-part=front]").evaluate((e) => e.dataset.stored === undefined && e.dataset.state === "choose"), "and does not look as if it had arrived");
  await shot(page, "phone-taken-again");
  await input(page).setInputFiles(given.photo);
  await use(page);
  await received(page);
  sent.push([digest(given.photo), digest(given.photo)]);
  await close(page, "taken again");
}

async function takenAgainWhileSending() {
  const page = await visit(browser, phone);
  await page.goto(given.midway);
  const line = await page.context().newCDPSession(page);
  await line.send("Network.emulateNetworkConditions", { offline: false, latency: 5, downloadThroughput: -1, uploadThroughput: 200_000 });
  await input(page).setInputFiles(given.noise);
  await use(page);
  await page.waitForFunction(() => document.querySelector("fieldset[data-part=front] progress").value > 5);
  await page.getByRole("button", { name: "Change" }).first().click();
  await line.send("Network.emulateNetworkConditions", { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
  await input(page).setInputFiles(given.photo);
  await use(page);
  await arrived(page, "front");
  await input(page, "back").setInputFiles(given.noise);
  await use(page, "back");
  await received(page);
  sent.push([digest(given.photo), digest(given.noise)]);
  await close(page, "taken again while it was sent");
}

// The later side is here. In one form come the missing one and another photo of the one that is here: both are what was chosen last.
async function takenAgainWithoutScript() {
  const page = await visit(browser, { javaScriptEnabled: false, viewport: tall });
  await page.goto(given.formAgain);
  await input(page, "back").setInputFiles(given.noise);
  await page.locator("button.send").click();
  await page.locator("#front-error").waitFor();
  await arrived(page, "back");
  await page.locator("fieldset summary").click();
  await accessible(page, "a side that can be changed without scripts");
  await shot(page, "phone-noscript-again");
  await input(page, "back").setInputFiles(given.photo);
  await input(page, "front").setInputFiles(given.photo);
  await page.locator("button.send").click();
  await received(page);
  sent.push([digest(given.photo), digest(given.photo)]);
  await close(page, "taken again without scripts");
}

// One side of a form is refused: the good one stays.
async function keptWithoutScript() {
  const page = await visit(browser, { javaScriptEnabled: false, viewport: tall });
  await page.goto(given.formKept);
  await input(page, "front").setInputFiles(given.noise);
  await input(page, "back").setInputFiles({ name: "photo.jpg", mimeType: "image/jpeg", buffer: Buffer.from("<html>this is no photo at all, whatever its name says</html>".repeat(20)) });
  await page.locator("button.send").click();
  await page.locator("#back-error").getByText("This is not a photo or document").waitFor();
  await arrived(page, "front");
  await fits(page, "one side was refused");
  await input(page, "back").setInputFiles(given.photo);
  await page.locator("button.send").click();
  await received(page);
  sent.push([digest(given.noise), digest(given.photo)]);
  await close(page, "kept without scripts");
}

// A word about photos that can hardly be read, and none about those that can; it holds nobody up.
async function judged() {
  const page = await visit(browser, phone);
  await page.goto(given.looked);
  const photos = await page.evaluate(async () => {
    const photo = async (filter, more = () => {}) => {
      const canvas = document.createElement("canvas"), paint = canvas.getContext("2d");
      [canvas.width, canvas.height] = [2000, 1500];
      paint.filter = filter;
      paint.fillStyle = "#6b5a48"; paint.fillRect(0, 0, 2000, 1500);
      paint.fillStyle = "#cfdbe8"; paint.fillRect(200, 250, 1600, 1000);
      paint.fillStyle = "#182334"; paint.font = "60px sans-serif";
      for (let line = 0; line < 8; line += 1) paint.fillText("SPECIMEN IDENTITY CARD X00000000", 300, 380 + line * 110);
      paint.filter = "none";
      more(paint);
      return new Promise((done) => { canvas.toBlob((blob) => { const reader = new FileReader(); reader.onload = () => done(reader.result.split(",")[1]); reader.readAsDataURL(blob); }, "image/jpeg", 0.9); });
    };
    const reflection = (paint) => {
      const light = paint.createRadialGradient(1000, 750, 60, 1000, 750, 420);
      light.addColorStop(0, "#fff"); light.addColorStop(0.5, "#fff"); light.addColorStop(1, "#fff0");
      paint.fillStyle = light; paint.fillRect(0, 0, 2000, 1500);
    };
    return { sharp: await photo("none"), soft: await photo("blur(2px)"), blurred: await photo("blur(9px)"), dark: await photo("brightness(0.12)"), glare: await photo("none", reflection) };
  });
  const warning = page.locator("fieldset[data-part=front] .warning");
  for (const [name, words] of [["sharp", ""], ["blurred", "This photo looks blurred."], ["soft", ""], ["dark", "This photo looks very dark."], ["glare", "This photo seems to have a bright reflection."]]) {
    await input(page).setInputFiles({ name: "photo.jpg", mimeType: "image/jpeg", buffer: Buffer.from(photos[name], "base64") });
    await page.locator(".preview").waitFor();
    if (words) {
      await warning.getByText(`${words} Take it again, or use it all the same.`).waitFor();
      check(await page.locator(".use").isEnabled(), "nobody is held up");
      await accessible(page, name);
      await shot(page, `phone-${name}`);
    } else {
      await page.waitForFunction(() => { const image = document.querySelector(".preview img"); return image.complete && image.naturalWidth > 0; });
      await page.evaluate(() => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go))));
      check(await warning.textContent() === "", `${name}: ${await warning.textContent()}`);
    }
    await page.locator(".again").click();
  }
  // The same in other languages, by night and on a desktop.
  for (const [language, colorScheme, viewport] of [["de", "dark", tall], ["ar", "light", tall], ["ar", "dark", desktop], ["en", "dark", desktop]]) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize(viewport);
    await page.goto(`${given.looked}?language=${language}`);
    await input(page).setInputFiles({ name: "photo.jpg", mimeType: "image/jpeg", buffer: Buffer.from(photos.blurred, "base64") });
    await page.waitForFunction(() => document.querySelector(".warning").textContent);
    await fits(page, `${language} ${colorScheme}`);
    await accessible(page, `${language} ${colorScheme}`);
    await shot(page, `warning-${language}-${colorScheme}-${viewport.width}`);
  }
  await close(page, "photos that are judged");
}
