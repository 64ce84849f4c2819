// Who acts on the page of a link says so, once; a page that is only fetched, looked at or scrolled by a program says nothing.
// Arguments: a JSON object of links, made by tests/it/browser/opened.rs.
import { check, clean, desktop, launch, phone, visit } from "./kit.mjs";

const given = JSON.parse(process.argv[2]);
const browser = await launch();
try {
  await fetchedOnly();
  await actedOn(given.touched, { viewport: phone, isMobile: true, hasTouch: true }, (page) => page.touchscreen.tap(180, 60));
  await actedOn(given.keyed, { viewport: desktop }, (page) => page.keyboard.press("Tab"));
  await actedOn(given.wheeled, { viewport: desktop }, (page) => page.mouse.wheel(0, 40));
} finally {
  await browser.close();
}

async function open(url, options) {
  const page = await visit(browser, options);
  page.notes = [];
  page.on("request", (request) => { if (request.url().endsWith("/opened")) page.notes.push(request.method()); });
  await page.goto(url, { waitUntil: "networkidle" });
  return page;
}

// A preview runs the page's scripts, scrolls through it and takes a picture.
async function fetchedOnly() {
  const page = await open(given.fetched, { viewport: phone });
  await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
  await page.screenshot({ fullPage: true });
  await page.reload({ waitUntil: "networkidle" });
  check(page.notes.length === 0, `a preview said ${page.notes}`);
  clean(page, "a preview");
  await page.context().close();
}

async function actedOn(url, options, act) {
  const page = await open(url, options);
  const answered = page.waitForResponse((answer) => answer.url().endsWith("/opened"));
  await act(page);
  check((await answered).status() === 204, "the note was not taken");
  await page.keyboard.press("Tab");
  await page.mouse.click(5, 5);
  await page.evaluate(() => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go))));
  check(page.notes.join() === "POST", `it said ${page.notes}`);
  clean(page, "whoever acts on the page");
  await page.context().close();
}
