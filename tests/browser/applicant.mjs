// The applicant's page in a real browser. Arguments: a JSON object of links and files, made by tests/it/browser.rs.
import { accessible, check, clean, desktop, fits, launch, phone, shot, specimen, spoken, visit } from "./kit.mjs";

const given = JSON.parse(process.argv[2]);
const browser = await launch();
try {
  await specimen(browser, given.photo);
  await withoutScript();
  await arabicWithoutScript();
  await withScript();
  await looks();
  await keyboard();
  await languages();
  await wrongFile();
  await tooBig();
  await passcode();
  await lockedOut();
  await deadLinks();
} finally {
  await browser.close();
}

async function withoutScript() {
  const page = await visit(browser, { javaScriptEnabled: false });
  await page.goto(given.plain);
  await fits(page, "the form without scripts");
  await accessible(page, "the form without scripts");
  await shot(page, "form-phone-noscript");
  for (const words of ["Harbour Bank", "We are required by law", "UTC", "What happens next"])
    check((await page.content()).includes(words), `the page does not say ${words}`);
  check((await page.locator("dl.facts").innerText()).includes(given.host), "the page names its host");
  await page.locator("fieldset[data-part=front] input:not([capture])").setInputFiles(given.photo);
  await page.locator("fieldset[data-part=back] input:not([capture])").setInputFiles(given.photo);
  await page.getByRole("button", { name: "Send both sides" }).click();
  await page.getByRole("heading", { name: "Received. Thank you." }).waitFor();
  await fits(page, "the receipt");
  await accessible(page, "the receipt");
  await shot(page, "receipt-phone-noscript");
  check(!(await page.content()).includes("specimen"), "the receipt shows a file name");
  await page.goto(given.plain);
  await page.getByRole("heading", { name: "Received. Thank you." }).waitFor();
  await page.emulateMedia({ media: "print" });
  await shot(page, "receipt-print");
  clean(page, "without scripts");
  await page.context().close();
}

// A small phone, Arabic, no JavaScript, from the link to the receipt.
async function arabicWithoutScript() {
  const page = await visit(browser, { javaScriptEnabled: false, locale: "de-DE" });
  const start = Date.now();
  await page.goto(given.arabic);
  check(await page.locator("html[lang=ar][dir=rtl]").count() === 1, "the request's language wins over the browser's");
  await fits(page, "the Arabic form");
  await accessible(page, "the Arabic form");
  await shot(page, "form-phone-arabic-noscript");
  await page.locator("fieldset[data-part=front] input[capture]").setInputFiles(given.photo);
  await page.locator("fieldset[data-part=back] input[capture]").setInputFiles(given.photo);
  await page.getByRole("button", { name: "إرسال الوجهين" }).click();
  await page.getByRole("heading", { name: "تم الاستلام. شكرًا لك." }).waitFor();
  check(Date.now() - start < 60_000, "it took a minute");
  await fits(page, "the Arabic receipt");
  await accessible(page, "the Arabic receipt");
  await shot(page, "receipt-phone-arabic-noscript");
  clean(page, "in Arabic");
  await page.context().close();
}

async function withScript() {
  const page = await visit(browser, { timezoneId: "America/New_York" });
  await page.goto(given.scripted);
  check(/ GMT[-−][45]$/.test(await page.locator("dl time").last().textContent()), "the expiry stands in the reader's zone");
  await accessible(page, "the form");
  await page.locator("fieldset[data-part=front] input[capture]").setInputFiles(given.photo);
  await page.getByText("Can you read everything?").first().waitFor();
  check(await spoken(page).then((s) => s.includes("Can you read") || s.includes("paragraph")), "focus is at the question");
  await accessible(page, "the preview");
  await fits(page, "the preview");
  await shot(page, "form-phone-preview");
  await page.getByRole("button", { name: "Take it again" }).click();
  check(await page.locator("fieldset[data-part=front] input").evaluateAll(([e, other]) => e.value === "" && other.value === "" && e === document.activeElement), "the photo is forgotten and the input waits");
  await page.locator("fieldset[data-part=front] input[capture]").setInputFiles(given.photo);
  check(!(await page.locator("button.send").isVisible()), "nothing to press: each side is sent when it is accepted");
  await page.getByRole("button", { name: "Use this photo" }).click();
  check(await page.locator("fieldset[data-part=back] input").first().evaluate((e) => e === document.activeElement), "the next part waits");
  await page.locator("fieldset[data-part=front]").getByText("Received and encrypted").waitFor();
  await accessible(page, "one side has arrived");
  await shot(page, "form-phone-one-arrived");
  await page.locator("fieldset[data-part=back] input:not([capture])").setInputFiles(given.photo);
  await page.getByRole("button", { name: "Use this file" }).click();
  await page.getByRole("heading", { name: "Received. Thank you." }).waitFor();
  await accessible(page, "the receipt with scripts");
  await shot(page, "receipt-phone");
  clean(page, "with scripts");
  await page.context().close();
}

async function looks() {
  const page = await visit(browser);
  const media = [["light", {}], ["dark", { colorScheme: "dark" }], ["contrast", { forcedColors: "active" }], ["still", { reducedMotion: "reduce" }]];
  for (const [name, options] of media) {
    await page.emulateMedia({ colorScheme: "light", forcedColors: "none", reducedMotion: "no-preference", ...options });
    for (const [size, viewport] of [["phone", phone], ["desktop", desktop], ["narrow", { width: 320, height: 640 }]]) {
      await page.setViewportSize(viewport);
      await page.goto(given.looked);
      await fits(page, `${name} ${size}`);
      await accessible(page, `${name} ${size}`);
      if (name !== "still") await shot(page, `form-${size}-${name}`);
    }
  }
  clean(page, "the looks");
  await page.context().close();
}

// Everything by keyboard, and what a screen reader says on the way.
async function keyboard() {
  const page = await visit(browser);
  // Somebody listens from the start: else a key can be quicker than the browser is told to hand its choosers over.
  page.on("filechooser", () => {});
  await page.goto(given.keyboard);
  const walk = [];
  for (let i = 0; i < 8; i += 1) {
    await page.keyboard.press("Tab");
    walk.push(await spoken(page));
  }
  const wanted = ["Language: English", "Front side Choose a file", "Front side Take a photo", "Back side Choose a file", "Back side Take a photo", "support@harbour.example"];
  wanted.forEach((name, i) => check(walk[i].replace(/Step \d of \d /, "").startsWith(name), `stop ${i + 1} should be ${name}: ${walk.join(" → ")}`));
  await page.locator("fieldset[data-part=front] input[capture]").focus();
  for (const [key, use] of [["Space", "Use this"], ["Enter", "Use this"]]) {
    const [chooser] = await Promise.all([page.waitForEvent("filechooser"), page.keyboard.press(key)]);
    await chooser.setFiles(given.photo);
    await page.locator(".preview:not([hidden])").waitFor();
    await page.keyboard.press("Tab");
    check((await spoken(page)).startsWith(use), `after the question comes ${use}, not ${await spoken(page)}`);
    await page.keyboard.press("Enter");
  }
  await page.getByRole("heading", { name: "Received. Thank you." }).waitFor();
  clean(page, "by keyboard");
  await page.context().close();
}

// The menu of languages works without scripts, and the picked one stays through a failure.
async function languages() {
  const page = await visit(browser, { javaScriptEnabled: false, locale: "fr-FR" });
  await page.goto(given.languages);
  check(await page.locator("html[lang=fr]").count() === 1, "the browser's language is spoken");
  await page.locator("summary").click();
  await shot(page, "languages-phone");
  await fits(page, "the menu of languages");
  await accessible(page, "the menu of languages");
  const tags = await page.locator(".languages a").evaluateAll((links) => links.map((a) => a.lang));
  check(tags.length === 12, `${tags}`);
  for (const tag of tags) {
    await page.goto(`${given.languages}?language=${tag}`);
    check(await page.locator(`html[lang|=${tag}]`).count() === 1, tag);
    await page.setViewportSize({ width: 320, height: 640 });
    await fits(page, tag);
    await accessible(page, tag);
    await page.setViewportSize(phone);
    await shot(page, `language-${tag}`);
  }
  await page.goto(`${given.languages}?language=hi`);
  await page.locator("button.send").click();
  await page.locator("#front-error").waitFor();
  check(await page.locator("html[lang=hi]").count() === 1, "the picked language stays");
  clean(page, "the languages");
  await page.context().close();
}

async function wrongFile() {
  const page = await visit(browser);
  await page.goto(given.refused);
  await page.locator("fieldset[data-part=front] input:not([capture])").setInputFiles({ name: "empty.png", mimeType: "image/png", buffer: Buffer.alloc(0) });
  await page.getByRole("button", { name: "Use this" }).first().click();
  await page.locator("#front-error").waitFor();
  await page.locator("fieldset[data-part=front] input:not([capture])").setInputFiles(given.wrong);
  await page.getByRole("button", { name: "Use this file" }).click();
  const words = page.locator("#front-error");
  await words.waitFor();
  check((await words.textContent()).includes("not a photo or document"), "the refusal says what is wrong");
  check(await words.evaluate((e) => e === document.activeElement), "focus moved to the refusal");
  await accessible(page, "a refusal");
  await shot(page, "form-phone-refused");
  await page.locator("fieldset[data-part=front] input:not([capture])").setInputFiles(given.photo);
  await page.getByRole("button", { name: "Use this file" }).click();
  await page.getByRole("heading", { name: "Received. Thank you." }).waitFor();
  clean(page, "a refused file");
  await page.context().close();
}

// With scripts the file does not even leave the phone; without them the server's page must be readable although the body was not read whole.
async function tooBig() {
  const page = await visit(browser);
  await page.goto(given.big);
  await page.locator("fieldset[data-part=front] input:not([capture])").setInputFiles(given.huge);
  await page.getByText("This file is too large.").waitFor();
  check(await page.locator("#front-error").evaluate((e) => e === document.activeElement), "focus moved to the refusal");
  await page.context().close();
  const plain = await visit(browser, { javaScriptEnabled: false });
  for (let round = 0; round < 10; round += 1) {
    await plain.goto(given.big);
    await plain.locator("input:not([capture])").setInputFiles(given.huge);
    await plain.getByRole("button", { name: "Send" }).click();
    await plain.getByText("This file is too large.").waitFor();
  }
  await shot(plain, "form-phone-too-big");
  await accessible(plain, "too big");
  clean(plain, "too big");
  await plain.context().close();
}

async function passcode() {
  const page = await visit(browser);
  await page.goto(given.locked.url);
  await accessible(page, "the passcode");
  await page.getByLabel("Code").fill(given.locked.wrong);
  await page.getByRole("button", { name: "Continue" }).click();
  await page.getByText("That is not the code. 4 tries are left.").waitFor();
  await accessible(page, "a wrong passcode");
  await shot(page, "passcode-phone-wrong");
  await page.getByLabel("Code").fill(given.locked.code);
  await page.getByRole("button", { name: "Continue" }).click();
  await page.locator("fieldset").first().waitFor();
  clean(page, "the passcode");
  await page.context().close();
}

async function lockedOut() {
  const page = await visit(browser, { locale: "pl-PL" });
  await page.goto(given.lockout.url);
  for (const words of ["Pozostały 4 próby.", "Pozostały 3 próby.", "Pozostały 2 próby.", "Pozostała 1 próba."]) {
    await page.getByLabel("Kod").fill(given.lockout.wrong);
    await page.getByRole("button", { name: "Dalej" }).click();
    await page.getByText(words).waitFor();
  }
  await page.getByLabel("Kod").fill(given.lockout.wrong);
  await page.getByRole("button", { name: "Dalej" }).click();
  await page.getByRole("heading", { name: "Ten link jest zablokowany" }).waitFor();
  await accessible(page, "a locked link");
  await shot(page, "link-locked");
  clean(page, "the lock");
  await page.context().close();
}

async function deadLinks() {
  const page = await visit(browser);
  for (const [name, url, words] of [["revoked", given.revoked, "This link is no longer valid"], ["unknown", given.unknown, "This link does not work"]]) {
    await page.goto(url);
    await page.getByRole("heading", { name: words }).waitFor();
    await fits(page, name);
    await accessible(page, name);
    await shot(page, `link-${name}`);
  }
  clean(page, "dead links");
  await page.context().close();
}
