// What every browser script shares: Chromium from the distribution, a page with watchful ears, screenshots into tests/output.
import { createRequire } from "node:module";
import { mkdirSync } from "node:fs";
import { join } from "node:path";

const parts = process.env.NIGHTDROP_TEST_PARTS;
if (!parts) throw new Error("NIGHTDROP_TEST_PARTS is not set: run tests/run");
const { chromium } = createRequire(join(parts, "node_modules", "x.js"))("playwright-core");

export const output = process.env.NIGHTDROP_TEST_OUTPUT;
mkdirSync(output, { recursive: true });

export const phone = { width: 360, height: 740 };
export const desktop = { width: 1280, height: 800 };

export async function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
}

// A fresh browser profile. Collects policy violations, script errors and requests to other hosts: all three must stay empty.
export async function visit(browser, options = {}) {
  const context = await browser.newContext({ viewport: phone, ...options });
  const page = await context.newPage();
  page.faults = [];
  page.on("console", (message) => { if (message.type() === "error" && !/status of 4|status of 5/.test(message.text())) page.faults.push(message.text()); });
  page.on("pageerror", (error) => page.faults.push(String(error)));
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith("http://127.0.0.1:") && !url.startsWith("blob:") && !url.startsWith("data:")) page.faults.push(`asked ${url}`);
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
