// One link on a desktop and on a phone at the same time. Arguments: links, a file and `controls`, where a link is revoked; made by tests/it/browser/phone.rs.
import { createRequire } from "node:module";
import { join } from "node:path";
import { accessible, check, clean, desktop, fits, launch, shot, spoken, tall, visit } from "./kit.mjs";

const given = JSON.parse(process.argv[2]);
const jsQR = createRequire(join(process.env.NIGHTDROP_TEST_PARTS, "node_modules", "x.js"))("jsqr");
const browser = await launch();
const input = (page, part = "front") => page.locator(`fieldset[data-part=${part}] input:not([capture])`);
const use = (page, part = "front") => page.locator(`fieldset[data-part=${part}] .use`).click();
const note = (page, part, words) => page.locator(`fieldset[data-part=${part}] .status`).getByText(words).waitFor();
const arrived = (page, part) => page.locator(`fieldset[data-part=${part}] .state`).getByText("Received and encrypted").waitFor();
const received = (page) => page.getByRole("heading", { name: "Received. Thank you." }).waitFor();
try {
  for (const story of [offeredOnDesktopsOnly, withoutScript, shownWhileItArrives, chosenHereToo, askedForTheCode, revokedMeanwhile, asksLittle]) await story();
} finally {
  await browser.close();
}

async function close(page, words) {
  page.faults = page.faults.filter((fault) => !/ERR_|Failed to load/.test(fault));
  clean(page, words);
  await page.context().close();
}

async function onDesktop(url, options = {}) {
  const page = await visit(browser, { viewport: desktop, ...options });
  page.asked = [];
  page.pending = 0;
  const asks = (request) => request.method() === "HEAD";
  page.on("request", (request) => { page.pending += asks(request); page.asked.push(`${request.method()} ${new URL(request.url()).pathname}`); });
  for (const end of ["requestfinished", "requestfailed"]) page.on(end, (request) => { page.pending -= asks(request); });
  if (options.clock) await page.clock.install();
  await page.goto(url);
  return page;
}

async function onPhone(url) {
  const page = await visit(browser, { viewport: tall, isMobile: true, hasTouch: true });
  page.asked = [];
  page.on("request", (request) => page.asked.push(new URL(request.url()).pathname));
  await page.goto(url, { waitUntil: "networkidle" });
  const line = await page.context().newCDPSession(page);
  page.line = (rate) => line.send("Network.emulateNetworkConditions", { offline: rate === 0, latency: 5, downloadThroughput: -1, uploadThroughput: rate });
  return page;
}

// What another program reads in the picture on the screen.
async function decoded(page) {
  const picture = page.locator(".phone img");
  await picture.scrollIntoViewIfNeeded();
  await page.waitForFunction(() => { const picture = document.querySelector(".phone img"); return picture.complete && picture.naturalWidth > 0; });
  const shot = (await picture.screenshot()).toString("base64");
  const { data, width, height } = await page.evaluate(async (shot) => {
    const image = new Image();
    image.src = `data:image/png;base64,${shot}`;
    await image.decode();
    const canvas = document.createElement("canvas"), paint = canvas.getContext("2d");
    canvas.width = image.width; canvas.height = image.height;
    paint.drawImage(image, 0, 0);
    return { data: [...paint.getImageData(0, 0, image.width, image.height).data], width: image.width, height: image.height };
  }, shot);
  return jsQR(Uint8ClampedArray.from(data), width, height)?.data;
}

async function offeredOnDesktopsOnly() {
  for (const colorScheme of ["light", "dark"]) {
    const page = await onDesktop(given.both, { colorScheme });
    check(await decoded(page) === given.address, `the picture is the link: ${await decoded(page)}`);
    check(await page.getByRole("heading", { name: "Continue on your phone" }).isVisible(), "it says what for");
    check(!(await page.getByText("asks for the code").isVisible()), "nothing is said of a code where there is none");
    await fits(page, "the offer");
    await accessible(page, `the offer, ${colorScheme}`);
    await shot(page, `desktop-phone-${colorScheme}`);
    await close(page, "the offer");
  }
  for (const [tag, colorScheme] of [["de", "light"], ["ar", "dark"], ["hi", "light"]]) {
    const page = await onDesktop(`${given.both}?language=${tag}`, { colorScheme });
    check(await decoded(page) === given.address, `the picture is the link in ${tag}`);
    await fits(page, `the offer in ${tag}`);
    await accessible(page, `the offer in ${tag}`);
    await shot(page, `desktop-phone-${tag}-${colorScheme}`);
    await close(page, `the offer in ${tag}`);
  }
  const contrast = await onDesktop(given.selfie, { forcedColors: "active", colorScheme: "dark" });
  await decoded(contrast);
  await fits(contrast, "the offer in forced colours");
  await shot(contrast, "desktop-phone-contrast");
  await close(contrast, "the offer in forced colours");
  const narrow = await visit(browser, { viewport: { width: 600, height: 800 } });
  await narrow.goto(given.both);
  check(!(await narrow.locator(".phone").isVisible()), "a narrow window has no room for it");
  await close(narrow, "a narrow window");
  const phone = await onPhone(given.both);
  check(!(await phone.locator(".phone").isVisible()), "a phone is not sent to a phone");
  await phone.evaluate(() => scrollTo(0, document.body.scrollHeight));
  await phone.waitForLoadState("networkidle");
  check(!phone.asked.some((path) => /qr\.svg|desktop\.|send\.|photo\./.test(path)), `and loads nothing of it: ${phone.asked}`);
  await close(phone, "a phone");
}

async function withoutScript() {
  const page = await onDesktop(given.both, { javaScriptEnabled: false });
  check(await page.locator(".phone img").isVisible(), "the picture is there");
  const top = async (words) => (await page.locator("fieldset[data-part=front] label").getByText(words).boundingBox()).y;
  check(await top("Choose a file") < await top("Take a photo"), "a desktop has files rather than a camera");
  const at = () => page.evaluate(() => document.activeElement.matches("input[type=file]"));
  for (let n = 0; n < 10 && !(await at()); n += 1) await page.keyboard.press("Tab");
  check(await spoken(page) === "Step 1 of 2 Front side Choose a file (button)", `and the keyboard goes there first: ${await spoken(page)}`);
  await accessible(page, "without a script");
  await shot(page, "desktop-phone-noscript");
  await close(page, "without a script");
  const phone = await visit(browser, { viewport: tall, isMobile: true, hasTouch: true, javaScriptEnabled: false });
  await phone.goto(given.both);
  const label = async (words) => (await phone.locator("fieldset[data-part=front] label").getByText(words).boundingBox()).y;
  check(await label("Take a photo") < await label("Choose a file"), "a phone has a camera");
  await close(phone, "a phone without a script");
}

// Sending, interrupted, going on, taken again, received: what the desktop says is true each time.
async function shownWhileItArrives() {
  const page = await onDesktop(given.both, { clock: true });
  const phone = await onPhone(given.both);
  await phone.line(150_000);
  await input(phone).setInputFiles(given.noise);
  await use(phone);
  await note(page, "front", /^Another device is sending this: about \d0% has arrived\.$/);
  check(await page.locator("fieldset[data-part=front] .choose").isVisible(), "the file can still be chosen here");
  check(await page.locator("fieldset[data-part=back] .status").innerText() === "", "nothing is said of the other side");
  await accessible(page, "while a phone sends");
  await shot(page, "desktop-phone-sending");
  await phone.line(0);
  await phone.locator("fieldset[data-part=front] .status").getByText("No connection.").waitFor();
  for (let n = 0; n < 4; n += 1) await forward(page, 10_000);
  await note(page, "front", "Another device began to send this and has stopped. Continue there, or choose the file here.");
  await shot(page, "desktop-phone-stopped");
  await phone.line(-1);
  await arrived(phone, "front");
  await forward(page, 30_000);
  await arrived(page, "front");
  check(await page.locator("fieldset[data-part=front] .status").innerText() === "", "nothing is being sent any more");
  await shot(page, "desktop-phone-half");
  await phone.locator("fieldset[data-part=front] .change").click();
  await phone.locator("fieldset[data-part=front] .choose").waitFor();
  await forward(page, 30_000);
  await page.locator("fieldset[data-part=front] .choose").waitFor();
  for (const part of ["front", "back"]) { await input(phone, part).setInputFiles(given.noise); await use(phone, part); }
  await received(phone);
  await forward(page, 30_000);
  await received(page);
  const kinds = [...new Set(page.asked.map((asked) => asked.replace(/^(\w+ \/d\/)\w+/, "$1")))];
  check(!kinds.some((asked) => /^(POST|PATCH|DELETE)/.test(asked)), `it asked and changed nothing: ${kinds}`);
  await close(page, "a desktop that watches");
  await close(phone, "a phone that sends");
}

// One side is chosen here, the other one comes from the phone: both are one document.
async function chosenHereToo() {
  const page = await onDesktop(given.here, { clock: true });
  await input(page).setInputFiles(given.noise);
  await page.locator("fieldset[data-part=front] .preview").waitFor();
  const phone = await onPhone(given.here);
  await input(phone, "back").setInputFiles(given.noise);
  await use(phone, "back");
  await arrived(phone, "back");
  await forward(page, 30_000);
  await arrived(page, "back");
  check(await page.locator("fieldset[data-part=front] .preview").isVisible(), "what was chosen here stays");
  await use(page);
  await received(page);
  await close(page, "a side from here");
  await close(phone, "a side from the phone");
}

async function askedForTheCode() {
  const page = await onDesktop(given.coded.url, { clock: true });
  check(await page.locator(".phone").count() === 0, "first the code");
  const enter = async (at) => { await at.locator("#passcode").fill(given.coded.code); await at.locator("button").click(); await input(at).waitFor({ state: "attached" }); };
  await enter(page);
  check(await page.getByText("Your phone asks for the code, too.").isVisible(), "it says that the phone asks, too");
  check(await decoded(page) === given.coded.url.replace(/:\d+/, ""), "the picture is the link");
  await shot(page, "desktop-phone-code");
  const phone = await onPhone(given.coded.url);
  await enter(phone);
  await input(phone).setInputFiles(given.noise);
  await use(phone);
  await received(phone);
  await forward(page, 30_000);
  await received(page);
  await close(page, "a desktop with a code");
  await close(phone, "a phone with a code");
}

async function revokedMeanwhile() {
  const page = await onDesktop(given.revoked, { clock: true });
  await fetch(`${given.controls}/revoke`, { method: "POST" });
  await forward(page, 30_000);
  await page.getByRole("heading", { name: "This link is no longer valid" }).waitFor();
  await close(page, "a revoked link");
}

// Ever less often, not at all while nobody looks, and in the end no more.
async function asksLittle() {
  const page = await onDesktop(given.idle, { clock: true });
  const looks = () => page.asked.filter((asked) => /^HEAD .*\/parts\/front$/.test(asked)).length;
  const over = async (minutes) => { const before = looks(); for (let n = 0; n < minutes * 12; n += 1) await forward(page, 5_000); return looks() - before; };
  const first = await over(10);
  check(first > 15 && first < 45, `in the first ten minutes it asked ${first} times`);
  const then = await over(10);
  check(then > 10 && then <= 24, `then ${then} times`);
  const hide = (hidden) => page.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  await hide(true);
  // One timer may have been running.
  await over(1);
  check(await over(10) === 0, "what is hidden asks nothing");
  await hide(false);
  check(await over(1) > 2, "whoever comes back sees how it stands");
  await forward(page, 3_700_000);
  await over(1);
  check(await over(10) === 0, "after an hour of nothing it stops");
  await page.evaluate(() => dispatchEvent(new Event("focus")));
  check(await over(1) > 2, "and goes on when somebody is there again");
  await close(page, "an idle desktop");
}

// The page's clock goes on, and what the page asked then is answered; unless it is another page by then.
async function forward(page, time) {
  await page.clock.fastForward(time).catch(() => {});
  for (let quiet = 0; quiet < 3;) {
    await page.evaluate(() => 0).catch(() => {});
    quiet = page.pending > 0 ? 0 : quiet + 1;
  }
}
