// What every browser script shares: Chromium from the distribution, a page with watchful ears, screenshots into tests/output.
import { createRequire } from "node:module";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const parts = process.env.NIGHTDROP_TEST_PARTS;
if (!parts) throw new Error("NIGHTDROP_TEST_PARTS is not set: run tests/run");
const { chromium } = createRequire(join(parts, "node_modules", "x.js"))("playwright-core");
const axeSource = readFileSync(join(parts, "node_modules/axe-core/axe.min.js"), "utf8");

export const output = process.env.NIGHTDROP_TEST_OUTPUT;
mkdirSync(output, { recursive: true });

export const phone = { width: 360, height: 740 };
export const tall = { width: 390, height: 844 };
export const desktop = { width: 1280, height: 800 };

export async function launch(more = []) {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", ...more],
  });
}

// A fresh browser profile. Collects policy violations, script errors and requests to other hosts: all three must stay empty.
// `home`: where the portal is, if it is not at an address of this machine.
export async function visit(browser, { home, ...options } = {}) {
  const context = await browser.newContext({ viewport: phone, ...options });
  const page = await context.newPage();
  page.faults = [];
  page.scriptless = options.javaScriptEnabled === false;
  page.on("console", (message) => { if (message.type() === "error" && !/status of 4|status of 5/.test(message.text())) page.faults.push(message.text()); });
  page.on("pageerror", (error) => page.faults.push(String(error)));
  page.on("request", (request) => {
    const url = request.url();
    if (home && url.startsWith(`${home}/`)) return;
    if (!url.startsWith("http://127.0.0.1:") && !url.startsWith("http://localhost:") && !url.startsWith("blob:") && !url.startsWith("data:")) page.faults.push(`asked ${url}`);
  });
  return page;
}

export async function shot(page, name) {
  await page.screenshot({ path: join(output, `${name}.png`), fullPage: true });
}

export function check(condition, words) {
  if (!condition) throw new Error(words);
}

// No text may be wider than the screen.
export async function fits(page, words) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  check(over <= 0, `${words}: the page is ${over} px wider than the screen`);
}

export function clean(page, words) {
  check(page.faults.length === 0, `${words}: ${page.faults.join("; ")}`);
}

// Accessibility by axe: WCAG 2.2 A and AA, target size among them. Injected by the browser's debugger, so that the page's policy stays as it is.
// Where the page runs no scripts, axe would not run either: it looks at the same document in a page of its own, without the portal's script.
export async function accessible(page, words) {
  if (page.scriptless) {
    const twin = await page.context().browser().newPage({ viewport: page.viewportSize() });
    const body = await page.content();
    await twin.route("**/upload.js*", (route) => route.abort());
    await twin.route(page.url(), (route) => route.fulfill({ body, contentType: "text/html; charset=utf-8" }));
    await twin.goto(page.url());
    await accessible(twin, words);
    return twin.close();
  }
  await page.evaluate(axeSource);
  const found = await page.evaluate(() => axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"], resultTypes: ["violations"] }));
  const lines = found.violations.map((v) => `${v.id}: ${v.nodes.map((n) => `${n.target} (${n.any.concat(n.all).map((c) => c.message).join("; ")})`).join(" | ")}`);
  check(lines.length === 0, `${words} is not accessible:\n${lines.join("\n")}`);
}

// What a screen reader says at the focused element: its name and role.
export async function spoken(page) {
  const cdp = page.cdp ??= await page.context().newCDPSession(page);
  const { result } = await cdp.send("Runtime.evaluate", { expression: "document.activeElement" });
  const { nodes } = await cdp.send("Accessibility.getPartialAXTree", { objectId: result.objectId, fetchRelatives: false });
  return `${nodes[0].name?.value} (${nodes[0].role?.value})`;
}

// A specimen of an identity card as a real photo-like PNG.
export async function specimen(browser, path) {
  const page = await browser.newPage({ viewport: { width: 1200, height: 760 } });
  await page.setContent(`<body style="margin:0;background:linear-gradient(135deg,#7a6a55,#4c4032)"><div style="margin:70px 90px;height:620px;border-radius:36px;background:linear-gradient(120deg,#dfe9f5,#b9cfe6);font:34px sans-serif;color:#123;padding:40px;box-sizing:border-box;box-shadow:0 20px 60px #0008">
    <b>SPECIMEN · IDENTITY CARD</b><div style="display:flex;gap:40px;margin-top:40px"><div style="width:260px;height:340px;background:#8aa;border-radius:12px"></div><div>Surname<br><b>SAMPLE</b><br><br>Given name<br><b>James</b><br><br>Number <b>X00000000</b></div></div></div>`);
  await page.screenshot({ path });
  await page.close();
}

// Whether an element can be seen without scrolling.
export async function inView(page, locator, words) {
  const { top, bottom } = await locator.evaluate((e) => { const { top, bottom } = e.getBoundingClientRect(); return { top, bottom }; });
  check(top >= 0 && bottom <= page.viewportSize().height && bottom > top, `${words} is in view: ${top} to ${bottom}`);
}
