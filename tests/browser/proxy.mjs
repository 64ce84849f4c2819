// The page behind a proxy that takes no large bodies and answers in words of its own. Arguments: links through it and files, made by tests/it/browser/devices.rs.
// Says what was sent: one JSON object of hashes.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { accessible, check, clean, launch, shot, tall, visit } from "./kit.mjs";

const given = JSON.parse(process.argv[2]);
const browser = await launch();
const digest = (path) => createHash("sha256").update(readFileSync(path)).digest("hex");
const input = (page) => page.locator("input:not([capture])");
const received = (page) => page.getByRole("heading", { name: "Received. Thank you." }).waitFor({ timeout: 60_000 });
try {
  await piecesShrink();
  await theFormSaysWhy();
  console.log(JSON.stringify({ noise: digest(given.noise), small: digest(given.small) }));
} finally {
  await browser.close();
}

async function piecesShrink() {
  const page = await visit(browser, { viewport: tall });
  const answers = [];
  page.on("response", (response) => { if (response.request().method() === "PATCH") answers.push(response.status()); });
  // nginx closes the connection after its refusal, sometimes before the browser has read it.
  page.on("requestfailed", (request) => { if (request.method() === "PATCH") answers.push(413); });
  // However busy this machine is, the line seems so fast that the pieces grow.
  await page.addInitScript(() => { const now = performance.now.bind(performance); performance.now = () => now() / 1000; });
  await page.goto(given.resumable);
  await input(page).setInputFiles(given.noise);
  await page.locator(".use").click();
  await received(page);
  const refused = answers.filter((status) => status === 413).length;
  check(refused >= 1 && refused <= 5, `it was refused, and remembered the limit: ${answers}`);
  page.faults = page.faults.filter((fault) => !/ERR_/.test(fault));
  clean(page, "behind nginx");
  await page.context().close();
}

// Where nothing but the form works, what the proxy says is told in words, and a smaller file goes.
async function theFormSaysWhy() {
  const page = await visit(browser, { viewport: tall });
  await page.route("**/parts/**", (route) => route.fulfill({ status: 501 }));
  await page.goto(given.plain);
  await input(page).setInputFiles(given.noise);
  await page.locator(".use").click();
  await page.locator("button.send").click();
  await page.getByText("This file is too large for the connection to this site.").waitFor();
  await accessible(page, "a proxy's limit");
  await shot(page, "proxy-limit");
  await page.getByRole("button", { name: "Change" }).click();
  await input(page).setInputFiles(given.small);
  await page.locator(".use").click();
  await page.locator("button.send").click();
  await received(page);
  clean(page, "the form behind nginx");
  await page.context().close();
}
