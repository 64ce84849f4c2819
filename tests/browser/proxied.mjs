// A photo of 20 MB through a real reverse proxy, by HTTP/2 and under the public name. Arguments: the link, the proxy's port and the file, made by tests/it/proxies.rs.
import { check, clean, launch, shot, tall, visit } from "./kit.mjs";

const given = JSON.parse(process.argv[2]);
const home = new URL(given.link).origin;
const browser = await launch([`--host-resolver-rules=MAP ${new URL(given.link).hostname}:443 127.0.0.1:${given.port}`]);
try {
  const page = await visit(browser, { viewport: tall, ignoreHTTPSErrors: true, home });
  await page.goto(given.link);
  const protocol = await page.evaluate(() => performance.getEntriesByType("navigation")[0].nextHopProtocol);
  check(protocol === "h2", `the page came by ${protocol}`);
  await page.locator("input:not([capture])").setInputFiles(given.photo);
  await page.locator(".use").click();
  await page.getByRole("heading", { name: "Received. Thank you." }).waitFor({ timeout: 80_000 });
  await shot(page, `behind-${given.kind}`);
  clean(page, `behind ${given.kind}`);
} finally {
  await browser.close();
}
