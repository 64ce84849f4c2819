// Several photos of one document. Arguments: links and files, made by tests/it/browser/photos.rs. Says which photos the portal must have made a PDF of, by their numbers.
import { accessible, check, clean, desktop, fits, launch, shot, tall, visit } from "./kit.mjs";

const given = JSON.parse(process.argv[2]);
const browser = await launch();
const phone = { viewport: tall, isMobile: true, hasTouch: true };
const photo = (...numbers) => numbers.map((n) => given.photos[n]);
const more = (page) => page.locator("input[multiple]");
const received = (page) => page.getByRole("heading", { name: "Received. Thank you." }).waitFor();
const button = (page, name) => page.getByRole("button", { name, exact: true });
const sent = [];
try {
  for (const story of [oneByOne, together, plainly, withoutScript, refused, arabic]) await story();
  console.log(JSON.stringify(sent));
} finally {
  await browser.close();
}

async function close(page, words) {
  clean(page, words);
  await page.context().close();
}

async function shows(page, numbers) {
  await page.waitForFunction((count) => document.querySelectorAll(".pages li").length === count, numbers.length);
  const sizes = await page.locator(".pages img").evaluateAll((images) => Promise.all(images.map((i) => i.decode().then(() => [i.alt, i.naturalWidth]))));
  check(JSON.stringify(sizes) === JSON.stringify(numbers.map((n, i) => [`Page ${i + 1}`, given.widths[n]])), `the pages are ${JSON.stringify(sizes)}`);
}

// A photo, then more of them; their order is changed, and one is taken out.
async function oneByOne() {
  const page = await visit(browser, phone);
  await page.goto(given.oneByOne);
  await page.getByText("Several photos, one for each page").waitFor();
  await page.locator("input[capture]").setInputFiles(photo(0));
  await page.getByText("Add a page").waitFor();
  await more(page).setInputFiles(photo(1));
  await shows(page, [0, 1]);
  await more(page).setInputFiles(photo(2, 3));
  await shows(page, [0, 1, 2, 3]);
  await button(page, "Move up: Page 4").click();
  await shows(page, [0, 1, 3, 2]);
  await fits(page, "the pages");
  await accessible(page, "the pages");
  await shot(page, "pages-phone");
  await button(page, "Remove: Page 2").focus();
  await page.keyboard.press("Enter");
  await shows(page, [0, 3, 2]);
  await button(page, "Use this file").click();
  await received(page);
  sent.push([0, 3, 2]);
  await close(page, "one by one");
}

// All at once on a desktop, and again after other files were tried.
async function together() {
  const page = await visit(browser, { viewport: desktop, colorScheme: "dark" });
  await page.goto(given.together);
  await more(page).setInputFiles(photo(3, 1));
  await shows(page, [3, 1]);
  await accessible(page, "the pages on a desktop");
  await shot(page, "pages-desktop-dark");
  await page.locator(".again").click();
  check(await page.locator(".pages").count() === 0, "nothing is left of them");
  await page.locator("input:not([capture]):not([multiple])").setInputFiles(given.pdf);
  await page.locator(".preview").waitFor();
  check(!(await more(page).isVisible()), "a PDF takes no more pages");
  await page.locator(".again").click();
  await more(page).setInputFiles(photo(2, 0));
  await shows(page, [2, 0]);
  await page.locator(".use").click();
  await received(page);
  sent.push([2, 0]);
  await close(page, "together");
}

// Where nothing resumable is offered the form carries the same photos in the same order.
async function plainly() {
  const page = await visit(browser, phone);
  await page.route("**/d/*", async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, body: (await answer.text()).replace(" data-tus", "") });
  }, { times: 1 });
  await page.goto(given.plain);
  await more(page).setInputFiles(photo(0, 1));
  await shows(page, [0, 1]);
  await button(page, "Move up: Page 2").click();
  await shows(page, [1, 0]);
  await page.locator(".use").click();
  await page.locator(".send").click();
  await received(page);
  sent.push([1, 0]);
  await close(page, "plainly");
}

async function withoutScript() {
  const page = await visit(browser, { ...phone, javaScriptEnabled: false });
  await page.goto(given.scriptless);
  await fits(page, "without scripts");
  await accessible(page, "without scripts");
  await shot(page, "pages-phone-noscript");
  await more(page).setInputFiles(photo(1, 2, 3));
  await page.locator(".send").click();
  await received(page);
  sent.push([1, 2, 3]);
  await close(page, "without scripts");
}

// What cannot be a page is said before anything is sent; a transparent picture becomes a JPEG.
async function refused() {
  const page = await visit(browser, phone);
  await page.goto(given.refused);
  await more(page).setInputFiles([...photo(0), given.pdf]);
  await page.getByText("This cannot become a page.").waitFor();
  await accessible(page, "a refused page");
  await more(page).setInputFiles([...photo(0), given.transparent]);
  await page.waitForFunction(() => document.querySelectorAll(".pages li").length === 2);
  await page.locator(".use").click();
  await received(page);
  await close(page, "refused");
}

async function arabic() {
  const page = await visit(browser, { ...phone, locale: "ar" });
  await page.goto(given.arabic);
  await more(page).setInputFiles(photo(0, 1));
  await page.waitForFunction(() => document.querySelectorAll(".pages li").length === 2);
  await fits(page, "the pages in Arabic");
  await accessible(page, "the pages in Arabic");
  await shot(page, "pages-phone-arabic");
  await close(page, "arabic");
}
