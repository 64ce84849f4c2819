// The applicant's journey in the engines of Firefox and of Safari (WebKit), as far as the distribution has them. Arguments: which engine, links and files, made by
// tests/it/browser/engines.rs. Each speaks its own protocol: Firefox WebDriver BiDi over a WebSocket, WebKit classic WebDriver over HTTP.
import { spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";

const given = JSON.parse(process.argv[2]);
const check = (condition, words) => { if (!condition) throw new Error(words); };
const port = () => new Promise((found) => { const server = createServer().listen(0, "127.0.0.1", () => { const { port } = server.address(); server.close(() => found(port)); }); });

// Asks again until it is so: every state of a page is reached within minutes, also on a busy machine, or the test has failed.
async function until(words, ask) {
  for (const end = Date.now() + 150_000; Date.now() < end;) {
    const found = await ask().catch(() => undefined);
    if (found) return found;
    await new Promise((go) => { setTimeout(go, 50); });
  }
  throw new Error(`${words}: not within two and a half minutes`);
}

async function firefox() {
  const at = await port(), profile = mkdtempSync(join(given.folder, "firefox-"));
  const browser = spawn("firefox-esr", ["--headless", "--no-remote", "--profile", profile, `--remote-debugging-port=${at}`, "--remote-allow-system-access", "about:blank"], { stdio: "ignore", env: { ...process.env, HOME: profile, MOZ_CRASHREPORTER_DISABLE: "1" } });
  const socket = await until("Firefox listens", () => new Promise((found, failed) => {
    const socket = new WebSocket(`ws://127.0.0.1:${at}/session`);
    socket.onopen = () => found(socket);
    socket.onerror = failed;
  }));
  const waiting = new Map(), faults = [];
  let number = 0;
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.method === "log.entryAdded" && message.params.level === "error") faults.push(message.params.text);
    const wait = waiting.get(message.id);
    if (wait) { waiting.delete(message.id); if (message.type === "success") wait.found(message.result); else wait.failed(new Error(`${message.error}: ${message.message}`)); }
  };
  const send = (method, params) => new Promise((found, failed) => { waiting.set(number += 1, { found, failed }); socket.send(JSON.stringify({ id: number, method, params })); });
  await send("session.new", { capabilities: {} });
  await send("session.subscribe", { events: ["log.entryAdded"] });
  const { context } = await send("browsingContext.create", { type: "tab" });
  await send("browsingContext.setViewport", { context, viewport: { width: 390, height: 844 } });
  const evaluate = async (body) => {
    const { type, result, exceptionDetails } = await send("script.evaluate", { expression: `JSON.stringify((() => ${body})() ?? null)`, target: { context }, awaitPromise: true, resultOwnership: "none" });
    check(type === "success", exceptionDetails?.text);
    return JSON.parse(result.value);
  };
  return {
    faults,
    evaluate,
    open: (url) => send("browsingContext.navigate", { context, url, wait: "complete" }),
    files: async (selector, ...files) => {
      const { nodes: [element] } = await send("browsingContext.locateNodes", { context, locator: { type: "css", value: selector } });
      await send("input.setFiles", { context, element, files });
    },
    shot: async (name) => { const { data } = await send("browsingContext.captureScreenshot", { context, origin: "document" }); keep(name, data); },
    close: async () => { socket.close(); browser.kill("SIGKILL"); },
  };
}

async function webkit() {
  const at = await port(), base = `http://127.0.0.1:${at}`, home = mkdtempSync(join(given.folder, "webkit-"));
  const env = { ...process.env, HOME: home, XDG_CONFIG_HOME: home, XDG_CACHE_HOME: home, XDG_DATA_HOME: home, LIBGL_ALWAYS_SOFTWARE: "1", WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: "1", GTK_THEME: "Adwaita", NO_AT_BRIDGE: "1" };
  // A window of its own screen, which nobody sees.
  const driver = spawn("xvfb-run", ["-a", "-s", "-screen 0 800x1200x24", "WebKitWebDriver", `--port=${at}`, "--host=127.0.0.1"], { stdio: "ignore", env, detached: true });
  const ask = async (method, path, body) => {
    const answer = await fetch(base + path, { method, headers: { "Content-Type": "application/json" }, body: body && JSON.stringify(body) }), { value } = await answer.json();
    check(answer.ok, `${path}: ${value?.error} ${value?.message}`);
    return value;
  };
  await until("WebKit's driver listens", () => ask("GET", "/status"));
  const capabilities = { alwaysMatch: { "webkitgtk:browserOptions": { binary: given.miniBrowser, args: ["--automation"] } } };
  const { sessionId } = await ask("POST", "/session", { capabilities }), session = `/session/${sessionId}`;
  await ask("POST", `${session}/window/rect`, { width: 390, height: 844 }).catch(() => {});
  const evaluate = async (body) => JSON.parse(await ask("POST", `${session}/execute/sync`, { script: `return JSON.stringify((() => ${body})() ?? null)`, args: [] }));
  return {
    faults: [],
    evaluate,
    open: (url) => ask("POST", `${session}/url`, { url }),
    files: async (selector, ...files) => {
      const element = await ask("POST", `${session}/element`, { using: "css selector", value: selector });
      await ask("POST", `${session}/element/${Object.values(element)[0]}/value`, { text: files.join("\n") });
    },
    shot: async (name) => keep(name, await ask("GET", `${session}/screenshot`)),
    close: async () => { await ask("DELETE", session).catch(() => {}); process.kill(-driver.pid, "SIGTERM"); },
  };
}

const keep = (name, base64) => writeFileSync(join(process.env.NIGHTDROP_TEST_OUTPUT, `${given.engine}-${name}.png`), Buffer.from(base64, "base64"));

const page = await { firefox, webkit }[given.engine]();
const says = (words) => until(words, () => page.evaluate(`document.body.innerText.includes(${JSON.stringify(words)})`));
const shown = (selector) => until(selector, () => page.evaluate(`document.querySelector(${JSON.stringify(selector)})?.offsetParent !== null && !!document.querySelector(${JSON.stringify(selector)})`));
const click = async (selector) => { await shown(selector); await page.evaluate(`document.querySelector(${JSON.stringify(selector)}).click()`); };
// Decoding and painting come after loading.
const drawn = async (name) => {
  await page.evaluate("{ window.painted = 0; Promise.all([...document.querySelectorAll('fieldset img[src]')].map((i) => i.decode().catch(() => 0))).then(() => requestAnimationFrame(() => setTimeout(() => { window.painted = 1; }))); }");
  await until("the pictures are painted", () => page.evaluate("window.painted"));
  await page.shot(name);
};
try {
  await bothSides();
  await wrongFile();
  await pages();
  await plainForm();
  check(page.faults.length === 0, page.faults.join("; "));
} finally {
  await page.close();
}

// Each side as soon as it is accepted, by resumable uploads.
async function bothSides() {
  await page.open(given.sides);
  await shown("html.js fieldset");
  const wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");
  check(wide <= 0, `the page is ${wide} px too wide`);
  await page.shot("start");
  for (const part of ["front", "back"]) {
    await page.files(`fieldset[data-part=${part}] input:not([capture])`, given.photo);
    await until("the preview is drawn", () => page.evaluate(`document.querySelector("fieldset[data-part=${part}] img").naturalWidth > 0`));
    if (part === "back") await drawn("preview");
    await click(`fieldset[data-part=${part}] .use`);
    if (part === "front") await says("Received and encrypted");
  }
  await says("Received. Thank you.");
  await page.shot("receipt");
}

async function wrongFile() {
  await page.open(given.wrong);
  await shown("html.js fieldset");
  await page.files("input:not([capture])", given.webp);
  await says("WebP");
  await page.files("input:not([capture])", given.photo);
  await click(".use");
  await says("Received. Thank you.");
}

// Photos in an order of the applicant's own.
async function pages() {
  await page.open(given.pages);
  await shown("html.js fieldset");
  await page.files("input[multiple]", given.photo, given.other);
  await until("two pages", () => page.evaluate("document.querySelectorAll('.pages li').length === 2 && [...document.querySelectorAll('.pages img')].every((i) => i.naturalWidth > 0)"));
  await drawn("pages");
  await click(".pages li:nth-child(2) button");
  await until("another order", () => page.evaluate("document.querySelectorAll('.pages li').length === 2 && document.querySelector('.pages img').naturalWidth === 310"));
  await click(".use");
  await says("Received. Thank you.");
}

// Where nothing resumable is offered.
async function plainForm() {
  await page.open(given.plain);
  await shown("html.js fieldset");
  await page.files("input:not([capture])", given.photo);
  await click(".use");
  await says("Received. Thank you.");
}
