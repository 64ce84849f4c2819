// What devices and their files do to the page. Arguments: links and files, made by tests/it/browser/devices.rs.
import { appendFileSync, copyFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { accessible, check, clean, fits, inView, launch, shot, tall, visit } from "./kit.mjs";

const given = JSON.parse(process.argv[2]);
const browser = await launch();
const input = (page, part = "front") => page.locator(`fieldset[data-part=${part}] input:not([capture])`);
const use = (page, part = "front") => page.locator(`fieldset[data-part=${part}] .use`).click();
const received = (page) => page.getByRole("heading", { name: "Received. Thank you." }).waitFor();
const phone = { viewport: tall, isMobile: true, hasTouch: true };
try {
  for (const story of [oldBrowser, unparsedScript, changedFile, changedFileInTheForm, formats, refusedByTheForm, otherTab, otherDevice, lateScript, missingScripts]) await story();
} finally {
  await browser.close();
}

async function close(page, words) {
  clean(page, words);
  await page.context().close();
}

// What iOS 14 and Chrome 90 do not have.
async function oldBrowser() {
  const page = await visit(browser, phone);
  await page.addInitScript(() => {
    delete AbortSignal.timeout; delete AbortSignal.any; delete Array.prototype.at; delete String.prototype.at; delete Object.hasOwn; delete Array.prototype.toSorted;
    delete String.prototype.replaceAll; delete Promise.any; delete Array.prototype.findLast; delete Object.groupBy;
    for (const name of ["structuredClone", "BroadcastChannel", "HTMLDialogElement", "OffscreenCanvas", "createImageBitmap", "requestIdleCallback", "WeakRef"]) delete window[name];
    const NumberFormat = Intl.NumberFormat;
    Intl.NumberFormat = function (locale, options) { if (options.style === "unit") throw new RangeError("style"); return new NumberFormat(locale, options); };
  });
  const start = Date.now();
  await page.goto(given.old);
  await input(page).setInputFiles(given.noise);
  await use(page);
  await received(page);
  check(Date.now() - start < 15_000, `it took ${Date.now() - start} ms`);
  await close(page, "an old browser");
}

// A browser that cannot read the script shows the plain form, and that works.
async function unparsedScript() {
  const page = await visit(browser, phone);
  await page.route("**/upload.js*", (route) => route.fulfill({ contentType: "text/javascript", body: "class Later { this is no script of today }" }));
  await page.goto(given.unparsed);
  check(await page.locator("button.send").isVisible(), "the form has its button");
  await input(page).setInputFiles(given.noise);
  await page.locator("button.send").click();
  await received(page);
  page.faults = page.faults.filter((fault) => !/SyntaxError|Unexpected/.test(fault));
  await close(page, "a script that cannot be read");
}

function fresh(name) {
  const path = join(given.folder, name);
  copyFileSync(given.noise, path);
  return path;
}

// The file is written to after it was chosen: no browser gives its bytes any more.
async function changedFile() {
  const page = await visit(browser, phone);
  await page.goto(given.changed);
  const path = fresh("changing.png");
  await input(page).setInputFiles(path);
  await page.locator(".preview").waitFor();
  appendFileSync(path, "more");
  const start = Date.now();
  await use(page);
  const words = page.locator("#front-error");
  await words.getByText("This file can no longer be read. Choose it again.").waitFor();
  check(Date.now() - start < 5_000, `it took ${Date.now() - start} ms`);
  check(await words.evaluate((e) => e === document.activeElement), "focus moved to the words");
  await accessible(page, "an unreadable file");
  await shot(page, "file-unreadable");
  await input(page).setInputFiles(given.noise);
  await use(page);
  await received(page);
  await close(page, "a changed file");
}

async function changedFileInTheForm() {
  const page = await visit(browser, phone);
  await page.route("**/parts/**", (route) => route.fulfill({ status: 501 }));
  await page.goto(given.changedPlain);
  const path = fresh("changing-too.png");
  await input(page).setInputFiles(path);
  await use(page);
  await page.getByText("Press “Send” instead.").waitFor();
  appendFileSync(path, "more");
  await page.locator("button.send").click();
  await page.locator("#front-error").getByText("This file can no longer be read.").waitFor();
  await input(page).setInputFiles(given.noise);
  await use(page);
  await page.locator("button.send").click();
  await received(page);
  await close(page, "a changed file in the form");
}

// Whatever a file is called: what will not be taken is named before anything is sent, and not shown as if it were fine.
async function formats() {
  const page = await visit(browser, phone);
  const asked = [];
  page.on("request", (request) => { if (/\/parts\//.test(request.url())) asked.push(request.url()); });
  await page.goto(given.formats);
  const file = (path, name, mimeType) => ({ name, mimeType, buffer: readFileSync(join(given.fixtures, path)) });
  const refused = [
    [file("cases/webp-named.jpg", "photo.jpg", "image/jpeg"), "A WebP picture is not accepted here. Save it as JPEG"],
    [file("inspect/foreign.webp", "photo.webp", "image/webp"), "A WebP picture"],
    [file("inspect/foreign.avif", "photo.jpg", "image/jpeg"), "An AVIF picture|A AVIF picture"],
    [file("inspect/gps.heic", "photo.jpg", "image/jpeg"), "A HEIC file is not accepted here. Take a photo instead."],
    [file("cases/base.heic", "photo.heic", "image/heic"), "A HEIC file"],
  ];
  for (const [chosen, words] of refused) {
    await input(page).setInputFiles(chosen);
    await page.locator("#front-error").filter({ hasText: new RegExp(words) }).waitFor();
    check(!(await page.locator(".preview").isVisible()), `${words}: no preview`);
  }
  check(asked.length === 0, "nothing was sent");
  await accessible(page, "a format that is not taken");
  await shot(page, "file-other-format");
  for (const [chosen, seen] of [[file("cases/jpeg-named.heic", "photo.heic", "image/heic"), true], [file("cases/png-named.jpg", "photo.jpg", "image/jpeg"), true], [file("inspect/photo.pdf", "scan.jpg", "image/jpeg"), false]]) {
    await input(page).setInputFiles(chosen);
    await page.locator(".preview").waitFor();
    check(await page.locator(".preview img").isVisible() === seen, `${chosen.name}: a picture is shown if it is one`);
    await page.locator(".again").click();
  }
  await close(page, "formats");
}

// Where only the form works, the server's own words stand beside the part, and the page goes on from there.
async function refusedByTheForm() {
  const page = await visit(browser, phone);
  await page.route("**/parts/**", (route) => route.fulfill({ status: 501 }));
  await page.goto(given.formats);
  await input(page).setInputFiles({ name: "photo.jpg", mimeType: "image/jpeg", buffer: Buffer.from("<html>this is no photo at all, whatever its name says</html>".repeat(20)) });
  await use(page);
  await page.locator("button.send").click();
  const words = page.locator("#front-error");
  await words.getByText("This is not a photo or document").waitFor();
  check(await words.evaluate((e) => e === document.activeElement), "focus moved to the refusal");
  await accessible(page, "refused by the form");
  await input(page).setInputFiles(given.noise);
  await page.locator(".preview").waitFor();
  await close(page, "refused by the form");
}

// Completed in one tab, the other one shows the receipt as well, by a GET.
async function otherTab() {
  const page = await visit(browser, phone);
  await page.goto(given.tabs);
  const other = await page.context().newPage();
  const asked = [];
  await other.goto(given.tabs);
  other.on("request", (request) => asked.push(request.method()));
  await page.bringToFront();
  await input(page).setInputFiles(given.noise);
  await use(page);
  await received(page);
  await received(other);
  check(asked.every((method) => method === "GET"), `${asked}`);
  await close(page, "another tab");
}

// Completed on another device: told as soon as somebody looks at this one again.
async function otherDevice() {
  const first = await visit(browser, phone);
  await first.goto(given.elsewhere);
  const second = await visit(browser, phone);
  await second.goto(given.elsewhere);
  await input(second).setInputFiles(given.noise);
  await use(second);
  await received(second);
  check(await input(first).count() === 1, "nothing is known here yet");
  await first.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  await received(first);
  await close(first, "the first device");
  await close(second, "the second device");
}

// The line fails just when the file is chosen: the script that sends is asked for again, and the file goes by itself.
async function lateScript() {
  const page = await visit(browser, phone);
  let fails = 2;
  await page.route("**/send.*.js*", (route) => (fails-- > 0 ? route.abort() : route.continue()));
  await page.goto(given.late);
  await input(page).setInputFiles(given.noise);
  await use(page);
  await page.locator("fieldset[data-part=front] .status").getByText("The connection is weak. Trying again…").waitFor();
  await received(page);
  check(fails < 0, "it was loaded in the end");
  page.faults = page.faults.filter((fault) => !/ERR_|Failed to load/.test(fault));
  await close(page, "a script that comes late");
}

// Where neither of them ever comes, the plain form does it all.
async function missingScripts() {
  const page = await visit(browser, phone);
  await page.clock.install();
  for (const name of ["send", "photo"]) await page.route(`**/${name}.*.js*`, (route) => route.abort());
  await page.goto(given.never);
  await input(page).setInputFiles(given.noise);
  await use(page);
  const told = page.getByText("Press “Send” instead.");
  for (let n = 0; n < 20 && !(await told.isVisible()); n += 1) await page.clock.fastForward(20_000);
  await told.waitFor();
  await page.locator("button.send").click();
  await received(page);
  page.faults = page.faults.filter((fault) => !/ERR_|Failed to load/.test(fault));
  await close(page, "scripts that do not come");
}
