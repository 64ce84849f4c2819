// The app of examples/zendesk-app in the sidebar of a ticket. The host is a fake of Zendesk: its SDK's few calls, and its proxy, which alone knows the API key.
// Arguments: a JSON object of addresses and keys made by tests/it/helpdesk.rs. Says the link that the app put into the reply.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { accessible, check, fits, launch, shot, visit } from "./kit.mjs";

const given = JSON.parse(process.argv[2]);
const manifest = JSON.parse(readFileSync(join(given.app, "manifest.json"), "utf8"));
const texts = JSON.parse(readFileSync(join(given.app, "translations/en.json"), "utf8")).app;
const SDK = "https://static.zdassets.com/zendesk_app_framework_sdk/2.0/zaf_sdk.min.js";

// What an admin of Zendesk would enter; the proxy calls no host that is not in the manifest.
const settings = { portal: `${given.portal}/`, api_key: given.key, applicant_field: "360001" };
const allowed = manifest.domainWhitelist.map((host) => host === "drop-api.example.com" ? new URL(given.portal).hostname : host);
check(manifest.parameters.every((one) => one.name in settings && texts.parameters[one.name].label), "each setting has a label");
check(manifest.parameters.find((one) => one.name === "api_key").secure === true, "the key is a secure setting");
for (const logo of ["logo.png", "logo-small.png", "logo.svg"]) readFileSync(join(given.app, "assets", logo));

const types = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css" };
const assets = createServer((request, answer) => {
  const name = new URL(request.url, "http://x").pathname.slice(1);
  answer.writeHead(200, { "content-type": types[extname(name)] }).end(readFileSync(join(given.app, "assets", name)));
});
await new Promise((ready) => { assets.listen(0, "127.0.0.1", ready); });

const host = { comment: "", calls: [], ticket: 4711, reference: given.applicant, broken: false };

// Zendesk's proxy: puts secure settings into headers, on its own side.
async function request(options) {
  check(options.secure === true, "the call goes through the proxy");
  check(allowed.includes(new URL(options.url).hostname), `${options.url} is not in domainWhitelist`);
  if (host.broken) return { failed: { status: 502 } };
  const headers = { "Content-Type": options.contentType };
  for (const [name, value] of Object.entries(options.headers)) headers[name] = value.replace(/\{\{setting\.(\w+)\}\}/g, (_, setting) => settings[setting]);
  host.calls.push({ path: new URL(options.url).pathname, headers: options.headers, body: options.data });
  const answer = await fetch(options.url, { method: options.type, headers, body: options.data });
  const json = await answer.json();
  return answer.ok ? { json } : { failed: { status: answer.status, responseJSON: json } };
}

const browser = await launch();
try {
  const page = await visit(browser, { viewport: { width: 320, height: 640 } });
  await page.exposeFunction("hostRequest", request);
  await page.exposeFunction("hostGet", (paths) => Object.fromEntries(paths.map((path) => [path, path === "ticket.id" ? host.ticket : path === "ticket.customField:custom_field_360001" ? host.reference : undefined])));
  await page.exposeFunction("hostInvoke", (name, text) => { if (name === "ticket.comment.appendText") host.comment += text; else check(name === "resize", name); });
  await page.exposeFunction("hostSettings", () => Object.fromEntries(manifest.parameters.filter((one) => !one.secure).map((one) => [one.name, settings[one.name]])));
  await page.route(SDK, (route) => route.fulfill({ contentType: "text/javascript", body: `
    window.ZAFClient = { init: () => ({
      get: (paths) => hostGet(paths), invoke: (name, ...given) => hostInvoke(name, ...given), metadata: async () => ({ settings: await hostSettings() }),
      request: async (options) => { const answer = await hostRequest(options); if (answer.failed) throw answer.failed; return answer.json; },
    }) };` }));
  const app = `http://127.0.0.1:${assets.address().port}/iframe.html?origin=https%3A%2F%2Fexample.zendesk.com&app_guid=1`;
  const open = async () => {
    await page.goto(app);
    await page.waitForFunction(() => !document.getElementById("issue").disabled || document.getElementById("fault").textContent);
  };
  const says = (id, words) => page.waitForFunction(([at, text]) => document.getElementById(at).textContent.includes(text), [id, words]);

  // What the provider wants stands there, for the applicant whom the ticket names.
  await open();
  check(await page.inputValue("#applicant") === given.applicant, "the reference comes from the ticket's field");
  await says("missing", "government-id");
  await says("requests", "Nothing yet");
  check(await page.inputValue("#document") === "government-id", "what is missing is proposed");
  await accessible(page, "the sidebar");
  await fits(page, "the sidebar");

  // A fault is a sentence with what to do; nothing was put into the reply.
  await page.fill("#document", "no such thing");
  await page.click("#issue");
  await says("fault", "document");
  check(host.comment === "", "no link after a fault");

  // The link stands in the reply, once, however often the proxy was asked.
  await page.fill("#document", "passport");
  await page.click("#issue");
  await says("said", "in your reply");
  await says("requests", "passport: waiting for the customer");
  const link = host.comment.match(/http:\/\/127\.0\.0\.1\S*\/d\/\S+/)[0];
  check(await page.textContent("#fault") === "", "no fault is left on the page");
  const asked = host.calls.filter((call) => call.path.endsWith("/requests") && call.headers["Idempotency-Key"]);
  check(JSON.parse(asked.at(-1).body).ticket === "ZD-4711", "the request names its ticket");
  await shot(page, "zendesk-app");

  // A passcode is told in the sidebar and never in the ticket.
  host.comment = "";
  await page.check("#passcode");
  await page.click("#issue");
  await says("said", "Code ");
  const code = (await page.textContent("#said")).match(/Code (\d{6})/)[1];
  check(!host.comment.includes(code), "the code is not in the reply");

  // The document has come: what became of it shows.
  const photo = new FormData();
  photo.append("front", new Blob([readFileSync(given.photo)], { type: "image/png" }), "front.png");
  const dropped = await fetch(new URL(new URL(link).pathname, given.public), { method: "POST", body: photo });
  check(dropped.status === 200, `dropped: ${dropped.status}`);
  await page.click("#again");
  await says("requests", "passport: arrived");

  // Another ticket of the same person shows none of it.
  host.ticket = 4712;
  await open();
  await says("requests", "Nothing yet");
  host.broken = true;
  await open();
  await says("fault", "cannot be reached");
  check(await page.isDisabled("#issue"), "without a portal nothing is asked for");

  // The browser has never had the key, and has asked nobody but Zendesk.
  check(host.calls.every((call) => call.headers.Authorization === "Bearer {{setting.api_key}}"), "the key stays with the proxy");
  const faults = page.faults.filter((fault) => fault !== `asked ${SDK}`);
  check(faults.length === 0, faults.join("; "));
  console.log(JSON.stringify({ link, path: new URL(link).pathname }));
} finally {
  await browser.close();
  assets.close();
}
