// Parts sent one by one over tus 1.0, against a server in this very script that cuts, stalls, refuses and forgets on demand.
// Arguments: the real pages, rendered by tests/it/browser.rs, and where the assets and the sample files are.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { accessible, check, clean, fits, launch, shot, specimen, visit } from "./kit.mjs";

const given = JSON.parse(process.argv[2]);
const KIB64 = 65536;
const media = { "portal.css": "text/css", "upload.js": "text/javascript", "logo.svg": "image/svg+xml" };
const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");

// One link: its parts, what it was told to do wrong, and what it was asked.
let link;
function fresh(wrongs = {}) {
  link = { language: "en", parts: new Map(), log: [], held: [], form: null, cutAt: null, ...wrongs };
  link.holding = new Promise((go) => { link.nowHolding = go; });
  return link;
}

const server = createServer(async (request, response) => {
  const path = new URL(request.url, "http://x").pathname;
  const asset = path.match(/^\/assets\/(.+)$/);
  response.setHeader("Content-Security-Policy", given.policy);
  // Scripts that bring their words, as the portal makes them.
  if (given.spoken[path]) return response.setHeader("Content-Type", "text/javascript").end(given.spoken[path]);
  if (asset) return response.setHeader("Content-Type", media[asset[1]]).end(readFileSync(join(given.assets, asset[1])));
  if (path === given.path && request.method === "GET") {
    const stored = [...link.parts].filter(([, p]) => p.stored).map(([name]) => name);
    const page = link.form || stored.length === 2 ? "receipt" : `${link.language}-${stored.length ? stored[0] : "none"}`;
    return response.setHeader("Content-Type", "text/html; charset=utf-8").end(given.pages[page]);
  }
  const body = [];
  const at = path.match(/\/parts\/(\w+)(\/u\d+)?$/);
  if (path === given.path) {
    for await (const piece of request) body.push(piece);
    link.form = Buffer.concat(body);
    return response.setHeader("Content-Type", "text/html; charset=utf-8").end(given.pages.receipt);
  }
  // That somebody acts on the page is said whatever they do there.
  if (path === `${given.path}/opened`) return response.writeHead(204).end();
  link.log.push(`${request.method} ${at[1]}`);
  const problem = (status, code, detail, headers = {}) =>
    response.writeHead(status, { "Content-Type": "application/problem+json", ...headers }).end(JSON.stringify({ code, detail, status }));
  check(request.headers["tus-resumable"] === "1.0.0", "every request names the protocol's version");
  response.setHeader("Tus-Resumable", "1.0.0");
  if (request.method === "POST") {
    if (link.noTus) return problem(501, "none", "not here");
    if (link.busy-- > 0) return problem(423, "upload.busy", "another device", { "Retry-After": "0" });
    const name = Buffer.from(request.headers["upload-metadata"].match(/filename (\S+?)(,|$)/)[1], "base64").toString();
    check(/\.png$/.test(name), `the metadata names the file, not ${name}`);
    link.parts.set(at[1], { length: Number(request.headers["upload-length"]), bytes: Buffer.alloc(0), stored: false });
    return response.writeHead(201, { Location: `${given.path}/parts/${at[1]}/u${link.log.length}` }).end();
  }
  // Told at its next question: the part is whole, and was not sent from here.
  if (link.elsewhere && link.log.length > 1) {
    link.elsewhere = false;
    link.parts.set(at[1], { length: 10, bytes: Buffer.alloc(10), stored: true });
  }
  if (request.method === "DELETE") { link.parts.delete(at[1]); return response.writeHead(204).end(); }
  const part = link.parts.get(at[1]);
  if (!part || link.forgets-- > 0) return problem(404, "upload.unknown", "no such upload");
  if (request.method === "HEAD") return response.writeHead(200, { "Upload-Offset": part.bytes.length, "Upload-Length": part.length, "Cache-Control": "no-store" }).end();
  check(request.headers["content-type"] === "application/offset+octet-stream", "the type of a PATCH");
  if (Number(request.headers["upload-offset"]) !== part.bytes.length) return problem(409, "upload.offset", "elsewhere");
  try {
    for await (const piece of request) {
      body.push(piece);
      const sofar = part.bytes.length + Buffer.concat(body).length;
      if (link.cutAt && sofar > part.length * link.cutAt) {
        link.cutAt = null;
        const whole = Buffer.concat(body);
        part.bytes = Buffer.concat([part.bytes, whole.subarray(0, Math.floor(whole.length / KIB64) * KIB64)]);
        return request.socket.destroy();
      }
    }
  } catch { return; }
  if (link.hold) await new Promise((go) => { link.held.push(go); link.nowHolding(); });
  part.bytes = Buffer.concat([part.bytes, ...body]);
  if (part.bytes.length === part.length && link.refuses-- > 0) {
    link.parts.delete(at[1]);
    return problem(415, "file.unknown_type", "This is not a photo or document that can be accepted.");
  }
  part.stored = part.bytes.length === part.length;
  response.writeHead(204, { "Upload-Offset": part.bytes.length }).end();
});
await new Promise((go) => server.listen(0, "127.0.0.1", go));
const address = `http://127.0.0.1:${server.address().port}${given.path}`;
const release = () => { link.hold = false; link.held.splice(0).forEach((go) => go()); };
const input = (page, part, capture = true) => page.locator(`fieldset[data-part=${part}] input${capture ? "[capture]" : ":not([capture])"}`);
const use = (page, part) => page.locator(`fieldset[data-part=${part}] .use`).click();
const arrived = (page, part) => page.locator(`fieldset[data-part=${part}] .state`).getByText("Received and encrypted").waitFor();
const received = (page) => page.getByRole("heading", { name: "Received. Thank you." }).waitFor();

const browser = await launch();
try {
  await specimen(browser, given.photo);
  for (const story of [happy, cameraKillsTheTab, cutInTheMiddle, offline, secondDevice, finishedElsewhere, refused, forgotten, sameFileAfterReload, plainForm, leaving, arabic]) {
    await story();
  }
} finally {
  await browser.close();
  server.close();
  server.closeAllConnections();
}

async function open(wrongs) {
  fresh(wrongs);
  const page = await visit(browser);
  await page.goto(address);
  return page;
}

async function close(page, words) {
  page.faults = page.faults.filter((f) => !/ERR_|Failed to load/.test(f));
  clean(page, words);
  await page.context().close();
}

// Each part goes when it is accepted, and 100 % is never shown before the server has it.
async function happy() {
  const page = await open({ hold: true });
  check(!(await page.locator("button.send").isVisible()), "nothing to press: each part is sent when it is accepted");
  await accessible(page, "the form with tus");
  await input(page, "front").setInputFiles(given.photo);
  await page.locator("fieldset[data-part=front] .preview").waitFor();
  check(link.log.length === 0, "nothing is sent before it is accepted");
  await use(page, "front");
  await page.getByText("Still sending – do not close this page.").waitFor();
  await page.locator("fieldset[data-part=front] progress").waitFor();
  await accessible(page, "while it is sent");
  await shot(page, "tus-sending");
  check(await page.locator("fieldset[data-part=front] progress").evaluate((p) => p.value < 100), "not full before it is stored");
  release();
  await arrived(page, "front");
  await fits(page, "after the first part");
  await accessible(page, "after the first part");
  await shot(page, "tus-front-arrived");
  await input(page, "back", false).setInputFiles(given.noise);
  await use(page, "back");
  await received(page);
  check(digest(link.parts.get("front").bytes) === digest(readFileSync(given.photo)), "the front arrived byte for byte");
  check(digest(link.parts.get("back").bytes) === digest(readFileSync(given.noise)), "the back arrived byte for byte");
  await close(page, "the happy path");
}

// A phone that kills the tab for the camera loses nothing, and another device sees the same.
async function cameraKillsTheTab() {
  const page = await open();
  await input(page, "front").setInputFiles(given.photo);
  await use(page, "front");
  await arrived(page, "front");
  await page.context().close();
  const other = await visit(browser);
  await other.goto(address);
  await other.locator("fieldset[data-part=front]").getByText("✓ Received and encrypted").waitFor();
  check(!(await input(other, "front").isVisible()), "the front is not asked for again");
  await accessible(other, "after the tab came back");
  await shot(other, "tus-after-reload");
  await input(other, "back").setInputFiles(given.photo);
  await use(other, "back");
  await received(other);
  await close(other, "a killed tab");
}

async function cutInTheMiddle() {
  const page = await open({ cutAt: 0.5 });
  await input(page, "front").setInputFiles(given.noise);
  await use(page, "front");
  await arrived(page, "front");
  check(link.cutAt === null && link.log.includes("HEAD front"), `it asked where to go on: ${link.log}`);
  check(link.log.filter((l) => l === "POST front").length === 1, "it did not start again");
  check(digest(link.parts.get("front").bytes) === digest(readFileSync(given.noise)), "byte for byte in spite of the cut");
  await close(page, "a cut");
}

async function offline() {
  const page = await open({ hold: true });
  await input(page, "front").setInputFiles(given.noise);
  await use(page, "front");
  await link.holding;
  await page.context().setOffline(true);
  release();
  await page.getByText("No connection. Sending continues by itself when it is back.").waitFor();
  await shot(page, "tus-offline");
  await page.context().setOffline(false);
  await arrived(page, "front");
  await close(page, "offline");
}

async function secondDevice() {
  const page = await open({ busy: Infinity });
  await input(page, "front").setInputFiles(given.photo);
  await use(page, "front");
  await page.getByText("Another device is sending this right now.").waitFor();
  link.busy = 0;
  await arrived(page, "front");
  await close(page, "a second device");
}

// Another device was sending the part; when it may be begun here, that one has finished it: it stays.
async function finishedElsewhere() {
  const page = await open({ busy: 1, elsewhere: true });
  await input(page, "front").setInputFiles(given.photo);
  await use(page, "front");
  await arrived(page, "front");
  check(link.log.filter((l) => l === "POST front").length === 1, `it is not begun anew: ${link.log}`);
  await close(page, "finished elsewhere");
}

async function refused() {
  const page = await open({ refuses: 1 });
  await input(page, "front").setInputFiles(given.photo);
  await use(page, "front");
  const words = page.locator("#front-error");
  await words.getByText("This is not a photo or document").waitFor();
  check(await words.evaluate((e) => e === document.activeElement), "focus moved to the refusal");
  await accessible(page, "a refused part");
  await shot(page, "tus-refused");
  await input(page, "front").setInputFiles(given.photo);
  await use(page, "front");
  await arrived(page, "front");
  await close(page, "a refused part");
}

// The server lost the upload (it was swept): it starts anew by itself.
async function forgotten() {
  const page = await open({ forgets: 1 });
  await input(page, "front").setInputFiles(given.photo);
  await use(page, "front");
  await arrived(page, "front");
  check(link.log.filter((l) => l === "POST front").length === 2, `${link.log}`);
  await close(page, "a forgotten upload");
}

async function sameFileAfterReload() {
  const page = await open({ hold: true });
  await input(page, "front").setInputFiles(given.noise);
  await use(page, "front");
  await page.locator("fieldset[data-part=front] progress").waitFor();
  await link.holding;
  page.on("dialog", (dialog) => dialog.accept());
  await page.reload();
  release();
  await input(page, "front").setInputFiles(given.noise);
  await use(page, "front");
  await arrived(page, "front");
  check(link.log.filter((l) => l === "POST front").length === 1 && link.log.includes("HEAD front"), `it went on: ${link.log}`);
  check(digest(link.parts.get("front").bytes) === digest(readFileSync(given.noise)), "byte for byte after the reload");
  const kept = await page.evaluate(() => JSON.stringify({ ...sessionStorage, ...localStorage }));
  check(!kept.includes("noise"), `no file name is kept: ${kept}`);
  await close(page, "a reload");
}

async function plainForm() {
  const page = await open({ noTus: true });
  await input(page, "front").setInputFiles(given.photo);
  await use(page, "front");
  await page.getByText("Press “Send both sides” instead.").waitFor();
  await accessible(page, "the fallback");
  await shot(page, "tus-fallback");
  await input(page, "back").setInputFiles(given.photo);
  await use(page, "back");
  await page.locator("button.send").click();
  await received(page);
  check(link.form.includes('name="front"; filename="specimen.png"') && link.form.length > 2 * readFileSync(given.photo).length, "the plain form carried both files");
  await close(page, "the fallback");
}

async function leaving() {
  const page = await open({ hold: true });
  await input(page, "front").setInputFiles(given.photo);
  await use(page, "front");
  await page.locator("fieldset[data-part=front] progress").waitFor();
  const [dialog] = await Promise.all([page.waitForEvent("dialog"), page.close({ runBeforeUnload: true })]);
  check(dialog.type() === "beforeunload", "leaving while sending is warned of");
  await dialog.accept();
  release();
  await page.context().close();
}

async function arabic() {
  const page = await open({ language: "ar", hold: true });
  await input(page, "front").setInputFiles(given.photo);
  await page.locator("fieldset[data-part=front] .preview").waitFor();
  await accessible(page, "the Arabic preview");
  await shot(page, "tus-arabic-preview");
  await use(page, "front");
  await page.locator("fieldset[data-part=front] progress").waitFor();
  await fits(page, "Arabic while sending");
  await shot(page, "tus-arabic-sending");
  release();
  await close(page, "in Arabic");
}
