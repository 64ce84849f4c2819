// The pages about providers in the console, and a provider's minimum for pictures on the applicant's page.
import { accessible, check, clean, desktop, fits, launch, phone, shot, visit } from "./kit.mjs";

const given = JSON.parse(process.argv[2]);
const browser = await launch();
try {
  for (const [size, viewport] of [["phone", phone], ["desktop", desktop]]) {
    const page = await visit(browser, { viewport });
    await page.goto(`${given.staff}/sign-in`);
    await page.fill("[name=email]", given.email);
    await page.fill("[name=password]", given.password);
    await page.click("main button");
    await page.waitForURL((url) => !url.pathname.startsWith("/sign-in"));
    await page.goto(`${given.staff}/requests/new`);
    await page.click("a[href='/docs/providers/sandbox']");
    await page.waitForURL(/\/docs\/providers\/sandbox$/);
    check((await page.textContent("h1")).includes("sandbox"), "the page of the provider");
    await page.click("a[href='/docs']");
    await page.waitForURL(/\/docs$/);
    for (const name of ["", "/providers/adyen", "/providers/http"]) {
      await page.goto(`${given.staff}/docs${name}`);
      await fits(page, `docs${name} on a ${size}`);
      await accessible(page, `docs${name} on a ${size}`);
      await shot(page, `docs${name.replaceAll("/", "-")}-${size}`);
    }
    clean(page, `docs on a ${size}`);
    await page.context().close();
  }

  const page = await visit(browser);
  const posts = [];
  page.on("request", (request) => { if (request.method() !== "GET") posts.push(request.url()); });
  await page.goto(given.link);
  check((await page.textContent("#front-hint")).includes("photos from 150 KB"), "the minimum stands there before");
  await page.setInputFiles("[data-part=front] input[type=file]:not([capture])", given.small);
  const told = await page.textContent("[data-part=front] .problem");
  check(told.includes("smaller than 150 KB"), `told at once: ${told}`);
  check(posts.length === 0, "nothing was sent");
  await accessible(page, "a picture that is too small");
  await shot(page, "too-small");
  await page.setInputFiles("[data-part=front] input[type=file]:not([capture])", given.good);
  await page.waitForSelector("[data-part=front] .preview:not([hidden])");
  check((await page.$$("[data-part=front] .problem")).length === 0, "the refusal is gone");
  clean(page, "a picture that is too small");
} finally {
  await browser.close();
}
