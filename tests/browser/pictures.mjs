// The two pictures of the README, light and dark: the applicant's page as a phone shows it, and the console's list of requests.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { clean, launch, visit } from "./kit.mjs";

const given = JSON.parse(process.argv[2]);
const browser = await launch();
try {
  const page = await visit(browser, { viewport: { width: 390, height: 1000 }, isMobile: true, hasTouch: true, timezoneId: "Europe/London", locale: "en-GB" });
  await page.goto(given.page);
  await page.waitForLoadState("networkidle");
  await draw(page, "page");
  const console = await visit(browser, { viewport: { width: 1160, height: 968 }, timezoneId: "Europe/London", locale: "en-GB" });
  await console.goto(`${given.console}/sign-in?next=/requests`);
  await console.getByLabel("E-mail address").fill(given.agent);
  await console.getByLabel("Password").fill(given.password);
  await console.getByRole("button", { name: "Sign in", exact: true }).click();
  await console.getByRole("heading", { name: "Requests", exact: true }).waitFor();
  await console.evaluate(() => document.activeElement?.blur());
  await draw(console, "console");
} finally {
  await browser.close();
}

async function draw(page, name) {
  const cdp = await page.context().newCDPSession(page);
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    const { data } = await cdp.send("Page.captureScreenshot", { format: "webp", quality: 60 });
    writeFileSync(join(given.folder, `${name}${colorScheme === "dark" ? "-dark" : ""}.webp`), Buffer.from(data, "base64"));
  }
  clean(page, name);
}
