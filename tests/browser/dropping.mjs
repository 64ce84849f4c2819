// Parts sent one by one to the real portal, with everything that happens to a telephone on the way. Arguments: links, files, and `controls`, where the
// portal's people and its clock are moved; made by tests/it/browser.rs.
import { createServer, connect } from "node:net";
import { accessible, check, clean, fits, launch, shot, specimen, visit } from "./kit.mjs";

const given = JSON.parse(process.argv[2]);
const browser = await launch();
const input = (page, part) => page.locator(`fieldset[data-part=${part}] input:not([capture])`);
const use = (page, part) => page.locator(`fieldset[data-part=${part}] .use`).click();
const arrived = (page, part) => page.locator(`fieldset[data-part=${part}]`).getByText("Received and encrypted").waitFor();
const received = (page) => page.getByRole("heading", { name: "Received. Thank you." }).waitFor();
const moving = (page) => page.waitForFunction(() => { const bar = document.querySelector("fieldset[data-part=front] progress"); return bar && bar.value > 0 && bar.value < 90; });
try {
  await specimen(browser, given.photo);
  for (const story of [cut, restarted, killedTab, secondDevice, twoAtOnce, revoked, expired]) await story();
} finally {
  await browser.close();
}

// A page on a line so slow that there is time for something to happen.
async function slow(url, rate = 250_000) {
  const page = await visit(browser);
  await page.goto(url);
  const line = await page.context().newCDPSession(page);
  page.line = (upload) => line.send("Network.emulateNetworkConditions", { offline: false, latency: 5, downloadThroughput: -1, uploadThroughput: upload });
  await page.line(rate);
  return page;
}

// What broke on purpose is no fault of the page.
async function close(page, words) {
  page.faults = page.faults.filter((fault) => !/ERR_|Failed to load/.test(fault));
  clean(page, words);
  await page.context().close();
}

// Half-way the connection is gone. It goes on from what was kept, and by itself.
async function cut() {
  const portal = new URL(given.cut);
  // After the cut the line stays dead for some tries more: a browser repeats quietly what broke on an old connection.
  const open = new Set();
  let left = 900_000, cuts = 0, dead = 0;
  const line = createServer((near) => {
    if (dead > 0) { dead -= 1; near.destroy(); return; }
    const far = connect(Number(portal.port), portal.hostname);
    open.add(near);
    near.on("data", (bytes) => {
      if (left > 0 && (left -= bytes.length) <= 0) { cuts += 1; dead = 4; open.forEach((socket) => socket.destroy()); return; }
      far.write(bytes);
    });
    far.on("data", (bytes) => near.write(bytes));
    for (const [one, other] of [[near, far], [far, near]]) {
      one.on("error", () => other.destroy());
      one.on("close", () => other.destroy());
    }
  });
  await new Promise((go) => line.listen(0, "127.0.0.1", go));
  const page = await visit(browser);
  const starts = [];
  page.on("request", (request) => { if (/\/parts\//.test(request.url())) starts.push(request.method()); });
  await page.goto(`http://127.0.0.1:${line.address().port}${portal.pathname}`);
  await input(page, "front").setInputFiles(given.noise);
  await use(page, "front");
  await received(page);
  check(cuts === 1, "the connection was cut once");
  check(starts.filter((m) => m === "POST").length === 1 && starts.includes("HEAD"), `it went on, it did not start again: ${starts}`);
  await close(page, "a cut connection");
  line.close();
}

// The portal itself stops and starts in the middle.
async function restarted() {
  const page = await slow(given.restarted);
  await input(page, "front").setInputFiles(given.noise);
  await use(page, "front");
  await moving(page);
  await move("restart");
  await page.line(-1);
  await received(page);
  await close(page, "a restart");
}

// The camera of a small telephone kills the tab: what was sealed is there, and the same file chosen again goes on where it stood.
async function killedTab() {
  const page = await slow(given.killed);
  await input(page, "front").setInputFiles(given.noise);
  await use(page, "front");
  await moving(page);
  page.on("dialog", (dialog) => dialog.accept());
  await page.reload();
  const methods = [];
  page.on("request", (request) => { if (/\/parts\//.test(request.url())) methods.push(request.method()); });
  await page.line(-1);
  await input(page, "front").setInputFiles(given.noise);
  await use(page, "front");
  await arrived(page, "front");
  check(methods[0] === "HEAD" && !methods.includes("POST"), `it asked where it stood: ${methods}`);
  await page.reload();
  await arrived(page, "front");
  check(!(await input(page, "front").isVisible()), "the front is not asked for again");
  await accessible(page, "after the tab came back");
  await shot(page, "drop-after-reload");
  await input(page, "back").setInputFiles(given.photo);
  await use(page, "back");
  await received(page);
  await close(page, "a killed tab");
}

// The front from the telephone, the back from the laptop, which needs no script.
async function secondDevice() {
  const first = await visit(browser);
  await first.goto(given.devices);
  await input(first, "front").setInputFiles(given.photo);
  await use(first, "front");
  await arrived(first, "front");
  await fits(first, "one side is here");
  const second = await visit(browser, { javaScriptEnabled: false });
  await second.goto(given.devices);
  await arrived(second, "front");
  await accessible(second, "one side is here, without scripts");
  await shot(second, "drop-second-device-noscript");
  await second.locator("button.send").click();
  await second.getByText("Choose a file here.").waitFor();
  await arrived(second, "front");
  await input(second, "back").setInputFiles(given.photo);
  await second.locator("button.send").click();
  await received(second);
  await first.reload();
  await received(first);
  await close(first, "the first device");
  await close(second, "the second device");
}

// Two devices send the same side: the later one waits and is told why; one document arrives.
async function twoAtOnce() {
  const first = await slow(given.both);
  await input(first, "front").setInputFiles(given.noise);
  await use(first, "front");
  await moving(first);
  const second = await visit(browser);
  await second.goto(given.both);
  await input(second, "front").setInputFiles(given.photo);
  await use(second, "front");
  await second.getByText("Another device is sending this right now.").waitFor();
  await shot(second, "drop-another-device");
  await first.line(-1);
  await received(first);
  await received(second);
  await close(first, "the device that was first");
  await close(second, "the device that waited");
}

async function revoked() {
  await stopped(given.revoked, "revoke", "This link is no longer valid");
}

async function expired() {
  await stopped(given.expired, "expire", "This link has expired");
}

// A link that dies while a file comes through it: the page says so, and does not go on trying.
async function stopped(url, how, words) {
  const page = await slow(url, 120_000);
  await input(page, "front").setInputFiles(given.noise);
  await use(page, "front");
  await moving(page);
  page.on("dialog", (dialog) => dialog.accept());
  await move(how);
  await page.line(-1);
  await page.getByRole("heading", { name: words }).waitFor();
  await accessible(page, how);
  await shot(page, `drop-${how}d-while-sending`);
  await close(page, how);
}

async function move(what) {
  const answer = await fetch(`${given.controls}/${what}`, { method: "POST" });
  check(answer.ok, `${what}: ${answer.status}`);
}
