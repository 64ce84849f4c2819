// The console's screens around messages, in light and dark, on a desk and a phone, with and without scripts: accessible, nothing too wide, no violation of the policy.
import { accessible, check, clean, desktop, fits, launch, phone, shot, visit } from "./kit.mjs";

const given = JSON.parse(process.argv[2]);
const browser = await launch();

async function signIn(page, who) {
  await page.goto(given.staff + "/sign-in");
  await page.fill("#email", who);
  await page.fill("#password", given.password);
  await page.click("main button");
  await page.waitForURL((url) => !url.pathname.startsWith("/sign-in"));
}

async function looked(page, name) {
  await fits(page, name);
  await accessible(page, name);
  await shot(page, `console-${name}`);
}

const looks = [
  ["light", desktop, { colorScheme: "light", permissions: ["clipboard-read", "clipboard-write"] }],
  ["dark", desktop, { colorScheme: "dark" }],
  ["phone", phone, { colorScheme: "light" }],
  ["noscript", phone, { colorScheme: "dark", javaScriptEnabled: false }],
];
for (const [look, viewport, options] of looks) {
  const page = await visit(browser, { viewport, ...options });
  await signIn(page, given.admin);
  // A new request in Arabic, shown once.
  await page.goto(given.staff + "/requests/new");
  await looked(page, `new-${look}`);
  await page.fill("#applicant", "acct_" + look);
  await page.selectOption("#document", "passport");
  await page.selectOption("#locale", look === "phone" ? "ar" : "de");
  await page.click("main form button.primary");
  await page.waitForSelector("#body");
  await looked(page, `issued-${look}`);
  const link = await page.inputValue("#url");
  check((await page.inputValue("#body")).includes(link), "the message holds the link");
  for (const [text, start] of [["E-mail program", "mailto:?subject="], ["Open in Gmail", "https://mail.google.com/"], ["Open in Outlook", "https://outlook.office.com/"]]) {
    const href = await page.getAttribute(`a:has-text("${text}")`, "href");
    check(href.startsWith(start) && href.includes(encodeURIComponent(link)), text);
  }
  if (look === "light") {
    await page.click('[data-copy="body"]');
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    check(copied.replaceAll("\r\n", "\n") === await page.inputValue("#body"), "Copy copies the whole message");
  } else if (look === "noscript") {
    check(!(await page.isVisible('[data-copy="body"]')), "without scripts there is no dead button");
  }
  // By e-mail: a wrong address comes back with what was typed, by the server's word.
  await page.evaluate(() => document.querySelector("#email")?.closest("form").setAttribute("novalidate", "")).catch(() => {});
  await page.fill("#email", "james@nowhere");
  await page.fill("#email", "james@applicant.example");
  await page.click('button:has-text("Send by e-mail")');
  await page.waitForURL(/done=mailed/);
  await looked(page, `mailed-${look}`);
  for (const [name, path] of [
    ["overview", "/"], ["rejected", `/requests/${given.rejected}`], ["outgoing", "/admin/outgoing"], ["templates", "/admin/messages"],
    ["template", "/admin/messages/edit?document=passport&language=" + (look === "phone" ? "ar" : "de")], ["notices", "/notices"], ["audit", "/audit?action=link"],
  ]) {
    await page.goto(given.staff + path);
    await looked(page, `${name}-${look}`);
  }
  // A template with a fault, by keyboard alone.
  await page.goto(given.staff + "/admin/messages/edit?document=passport&language=nl");
  await page.fill("#body", "Hallo {naam}");
  await page.focus('button[value="save"]');
  await page.keyboard.press("Enter");
  await page.waitForSelector(".fault");
  check((await page.inputValue("#body")).trim() === "Hallo {naam}", "nothing that was typed is lost");
  await looked(page, `template-fault-${look}`);
  clean(page, look);
  await page.context().close();
}
// What the applicant reads after a rejection, in their language.
const applicant = await visit(browser, { viewport: phone });
await applicant.goto(given.again);
check((await applicant.textContent("main")).includes("nicht lesbar"), "the reason stands on the applicant's page");
await fits(applicant, "again");
await accessible(applicant, "again");
await shot(applicant, "applicant-again");
clean(applicant, "again");
await browser.close();
