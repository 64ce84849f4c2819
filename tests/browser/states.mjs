// Every state of the applicant's page in the languages given, on a phone and a desktop, light and dark: nothing overflows, nothing is inaccessible, and nothing of
// another language is left over.
import { accessible, check, clean, desktop, fits, launch, shot, visit } from "./kit.mjs";

const given = JSON.parse(process.argv[2]);
const phone = { width: 390, height: 844 };
const browser = await launch();
try {
  for (const [tag, english] of Object.entries(given.languages)) {
    for (const [name, url] of Object.entries(given.pages)) {
      const page = await visit(browser, { viewport: phone, timezoneId: "Europe/Berlin" });
      await page.goto(`${url}?language=${tag}`);
      await look(page, name, tag, english);
    }
    // Without a script the form comes back with what is wrong at its part.
    const page = await visit(browser, { viewport: phone, javaScriptEnabled: false });
    await page.goto(`${given.refused}?language=${tag}`);
    await page.locator("input[type=file]").last().setInputFiles(given.wrong);
    await page.locator("button.send").click();
    await page.locator(".problem").waitFor();
    await look(page, "refused", tag, english);
    const code = await visit(browser, { viewport: phone });
    await code.goto(`${given.pages.passcode}?language=${tag}`);
    await code.locator("#passcode").fill("12345a");
    await code.locator("form").evaluate((form) => { form.noValidate = true; });
    await code.locator("button").click();
    await code.locator(".problem").waitFor();
    await look(code, "passcode-refused", tag, english);
  }
} finally {
  await browser.close();
}

async function look(page, name, tag, english) {
  const what = `${name} in ${tag}`;
  check(await page.locator(`html[lang|=${tag}]`).count() === 1, `${what}: the language`);
  check(await page.locator(".languages a").count() === 12, `${what}: the menu of languages`);
  const text = await page.locator("body").innerText();
  for (const word of english) check(!text.includes(word), `${what} says “${word}”:\n${text}`);
  // A title and a first sentence that repeat each other tell nothing twice.
  const title = (await page.locator("h1").innerText()).trim();
  const first = (await page.locator("main p").first().innerText()).trim();
  check(!first.startsWith(title), `${what} says twice: ${title}`);
  for (const [size, viewport] of Object.entries({ phone, desktop })) {
    for (const colorScheme of ["light", "dark"]) {
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme });
      await fits(page, `${what}, ${size}`);
      if (size === "phone" || tag === "ar") await shot(page, `state-${tag}-${name}-${size}-${colorScheme}`);
      if (size === "phone" && (tag === "en" || tag === "ar")) await accessible(page, `${what}, ${colorScheme}`);
    }
  }
  clean(page, what);
  await page.context().close();
}
