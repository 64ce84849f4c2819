// The applicant's page in a real browser. Arguments: a JSON object of links and files, made by tests/it/browser.rs.
import { check, clean, desktop, fits, launch, phone, shot, visit } from "./kit.mjs";

const given = JSON.parse(process.argv[2]);
const browser = await launch();
try {
  await withoutScript();
  await withScript();
  await wrongFile();
  await passcode();
  await deadLinks();
} finally {
  await browser.close();
}

async function withoutScript() {
  const page = await visit(browser, { javaScriptEnabled: false });
  await page.goto(given.plain);
  await fits(page, "the form without scripts");
  await shot(page, "form-phone-noscript");
  await page.locator('fieldset[data-part=front] input:not([capture])').setInputFiles(given.photo);
  await page.locator('fieldset[data-part=back] input:not([capture])').setInputFiles(given.photo);
  await page.getByRole("button", { name: "Send both sides" }).click();
  await page.getByRole("heading", { name: "Received. Thank you." }).waitFor();
  await fits(page, "the receipt");
  await shot(page, "receipt-phone-noscript");
  check(!(await page.content()).includes("specimen"), "the receipt shows a file name");
  await page.goto(given.plain);
  await page.getByRole("heading", { name: "Received. Thank you." }).waitFor();
  clean(page, "without scripts");
  await page.context().close();
}

async function withScript() {
  const page = await visit(browser);
  await page.goto(given.scripted);
  for (const [name, options] of [["light", {}], ["dark", { colorScheme: "dark" }]]) {
    await page.emulateMedia(options);
    await page.setViewportSize(phone);
    await shot(page, `form-phone-${name}`);
    await page.setViewportSize(desktop);
    await shot(page, `form-desktop-${name}`);
  }
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 320, height: 640 });
  await fits(page, "the form at 320 px");
  await page.setViewportSize(phone);
  await page.locator('fieldset[data-part=front] input[capture]').setInputFiles(given.photo);
  await page.getByText("Can you read everything?").waitFor();
  await shot(page, "form-phone-preview");
  await page.locator('fieldset[data-part=back] input:not([capture])').setInputFiles(given.photo);
  await page.getByRole("button", { name: "Send both sides" }).click();
  await page.getByRole("heading", { name: "Received. Thank you." }).waitFor();
  await shot(page, "receipt-phone");
  clean(page, "with scripts");
  await page.context().close();
}

async function wrongFile() {
  const page = await visit(browser);
  await page.goto(given.refused);
  await page.locator('fieldset[data-part=front] input:not([capture])').setInputFiles(given.wrong);
  await page.getByRole("button", { name: "Send" }).click();
  const words = page.locator("#front-error");
  await words.waitFor();
  check((await words.textContent()).includes("not a photo or document"), "the refusal says what is wrong");
  check(await words.evaluate((e) => e === document.activeElement), "focus moved to the refusal");
  await shot(page, "form-phone-refused");
  await page.locator('fieldset[data-part=front] input:not([capture])').setInputFiles(given.photo);
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByRole("heading", { name: "Received. Thank you." }).waitFor();
  clean(page, "a refused file");
  await page.context().close();
}

async function passcode() {
  const page = await visit(browser);
  await page.goto(given.locked.url);
  await page.getByLabel("Code").fill(given.locked.wrong);
  await page.getByRole("button", { name: "Continue" }).click();
  await page.getByText("That is not the code.").waitFor();
  await shot(page, "passcode-phone-wrong");
  await page.getByLabel("Code").fill(given.locked.code);
  await page.getByRole("button", { name: "Continue" }).click();
  await page.locator("fieldset").first().waitFor();
  clean(page, "the passcode");
  await page.context().close();
}

async function deadLinks() {
  const page = await visit(browser);
  for (const [name, url, words] of [["revoked", given.revoked, "This link was withdrawn"], ["unknown", given.unknown, "This link does not work"]]) {
    await page.goto(url);
    await page.getByRole("heading", { name: words }).waitFor();
    await fits(page, name);
    await shot(page, `link-${name}`);
  }
  clean(page, "dead links");
  await page.context().close();
}
