// What a first visit weighs on the line, as a real browser counts it: heads and bodies of the page and of everything that it loads, in every language.
// Arguments: a JSON object with a link, the languages and the most that a visit may weigh, made by tests/it/browser.rs. Says what it measured: one JSON object.
import { check, clean, launch, visit } from "./kit.mjs";

const given = JSON.parse(process.argv[2]);
const browser = await launch();
try {
  const measured = {};
  for (const language of given.languages) {
    const page = await visit(browser, { locale: language, viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true });
    const cdp = await page.context().newCDPSession(page);
    const urls = new Map(), weights = {};
    cdp.on("Network.responseReceived", ({ requestId, response }) => urls.set(requestId, response.url));
    // Heads and bodies as they came over the line.
    cdp.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
      const url = new URL(urls.get(requestId));
      if (url.protocol === "data:") return;
      const path = url.pathname.replace(/^\/d\/\w+$/, "page");
      weights[path] = (weights[path] ?? 0) + encodedDataLength;
    });
    await cdp.send("Network.enable");
    await page.goto(given.url, { waitUntil: "networkidle" });
    check((await page.locator("html").getAttribute("lang")).split("-")[0] === language, `${language} is not spoken`);
    clean(page, language);
    const names = Object.keys(weights).map((path) => path.split("/").pop()).sort().join(" ");
    check(names === "page portal.css upload.js", `${language} loaded ${names}`);
    check(Object.values(weights).every((weight) => weight > 0), `${language} did not load all: ${JSON.stringify(weights)}`);
    const all = Object.values(weights).reduce((sum, weight) => sum + weight, 0);
    measured[language] = { ...weights, all };
    // What was left out of it comes with the first file.
    const needed = ["photo", "send"].map((name) => page.waitForResponse((answer) => answer.ok() && answer.url().includes(`/assets/${name}.${language}.js`)));
    await page.locator("input[type=file]").last().setInputFiles({ name: "photo.png", mimeType: "image/png", buffer: Buffer.from("89504e470d0a1a0a", "hex") });
    await Promise.all(needed);
    await page.context().close();
  }
  const heavy = Object.entries(measured).filter(([, weights]) => weights.all > given.most);
  check(heavy.length === 0, `more than ${given.most} bytes: ${JSON.stringify(heavy)}`);
  console.log(JSON.stringify(measured));
} finally {
  await browser.close();
}
