// A support agent's day in the console: a help desk's link, one link issued, the same again, Back and Reload, and a session that ends while somebody types.
import { accessible, check, clean, desktop, fits, launch, shot, tall, visit } from "./kit.mjs";

const given = JSON.parse(process.argv[2]);
const at = (path) => given.console + path;
const browser = await launch();
const tablet = { width: 768, height: 1024 };
try {
  await asking();
  await news();
  await notes();
  await assigning();
  await several();
  await looks();
} finally {
  await browser.close();
}

async function signIn(page, next = "/") {
  if (!page.url().includes("/sign-in")) await page.goto(at(`/sign-in?next=${next}`));
  await page.getByLabel("E-mail address").fill(given.agent);
  await page.getByLabel("Password").fill(given.password);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
}

async function settled(page, words, name) {
  await fits(page, words);
  await accessible(page, words);
  if (name) await shot(page, name);
  clean(page, words);
}

async function asking() {
  const page = await visit(browser, { viewport: desktop, permissions: ["clipboard-read", "clipboard-write"] });
  const asked = [];
  page.on("request", (request) => asked.push(request.url() + " " + (request.postData() ?? "")));
  // The fragment survives the way over the sign-in page, fills the form, and is never sent.
  await page.goto(at("/requests/new#applicant=acct_deep&document=passport&provider=sandbox&locale=de&ticket=HD-4711&email=nobody%40example.com&passcode=yes&provider2=x"));
  await page.waitForURL(/sign-in/);
  check(!page.url().includes("#"), "the fragment stayed in the address of the sign-in page");
  await signIn(page);
  await page.getByRole("heading", { name: "New request" }).waitFor();
  check(!page.url().includes("#"), "the fragment stayed in the address");
  for (const [name, value] of [["applicant", "acct_deep"], ["document", "passport"], ["provider", "sandbox"], ["locale", "de"], ["ticket", "HD-4711"]]) {
    check((await page.inputValue(`#${name}`)) === value, `${name} was not filled in`);
  }
  check(!(await page.isChecked("[name=passcode]")), "only fields of the list are filled");
  await page.getByText("Filled in by the link").waitFor();
  check(!asked.some((line) => line.includes("acct_deep")), "the fragment was sent to the server");
  await settled(page, "a form that a link filled", "desk-filled");

  // By the keyboard alone: Enter issues, and Copy has the focus on the next page.
  await page.locator("#applicant").focus();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "The link is ready" }).waitFor();
  await page.getByText("acct_deep").first().waitFor();
  check((await page.evaluate(() => document.activeElement.dataset.copy)) === "url", "Copy has the focus");
  await page.keyboard.press("Enter");
  await page.getByText("Copied").waitFor();
  const link = await page.inputValue("#url");
  check((await page.evaluate(() => navigator.clipboard.readText())) === link, "the link was copied");
  await settled(page, "the link", "desk-issued");
  await page.reload();
  check((await page.inputValue("#url")) === link, "a reload shows the link again");
  await page.getByRole("link", { name: "To the request", exact: true }).click();
  await page.getByRole("heading", { name: "What happened" }).waitFor();
  await page.goBack();
  check((await page.inputValue("#url")) === link, "Back shows the link again");

  // The same again.
  await page.getByRole("link", { name: "Another request" }).click();
  check((await page.inputValue("#provider")) === "sandbox" && (await page.inputValue("#document")) === "passport", "as the last time");
  await page.locator("#applicant").fill("acct_deep");
  await page.keyboard.press("Enter");
  await page.getByText("asked for already").waitFor();
  await settled(page, "a word about an open request", "desk-open-already");
  await page.reload();
  await page.getByText("asked for already").waitFor();
  await page.getByRole("button", { name: "Issue another link" }).click();
  await page.getByRole("heading", { name: "The link is ready" }).waitFor();

  // The session ends in another tab while somebody types.
  await page.goto(at("/requests/new"));
  await page.locator("#applicant").fill("acct_typed");
  await page.locator("#message").fill("Both sides, please.");
  const tab = await page.context().newPage();
  await tab.goto(at("/"));
  await tab.getByRole("button", { name: "Sign out" }).click();
  await tab.getByRole("heading", { name: "Sign in" }).waitFor();
  await tab.close();
  await page.getByRole("button", { name: "Issue the link" }).click();
  await page.waitForURL(/sign-in/);
  await signIn(page);
  await page.getByRole("heading", { name: "This was not sent yet" }).waitFor();
  await page.getByText("acct_typed").waitFor();
  await settled(page, "a form that came too late", "desk-typed");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "New request" }).waitFor();
  check((await page.inputValue("#applicant")) === "acct_typed" && (await page.inputValue("#message")) === "Both sides, please.", "what was typed is back");

  // What is missing, and back to it.
  await page.goto(at("/missing"));
  await page.locator("#applicant").fill("acct_missing");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Request", exact: true }).first().click();
  await page.getByRole("heading", { name: "The link is ready" }).waitFor();
  await page.getByRole("button", { name: "Back to what is missing" }).click();
  await page.getByText("Link issued").first().waitFor();
  await settled(page, "what is missing", "desk-missing");
  clean(page, "asking");
}

// A page that is looked at shows what happens elsewhere, says so, and leaves whoever types alone.
async function news() {
  const page = await visit(browser, { viewport: desktop });
  await signIn(page);
  await page.getByText("To be handed over by hand").first().waitFor();
  await settled(page, "an overview with work to be done by hand", "desk-overview");
  await page.goto(at(`/requests/${given.held}`));
  await page.getByText("Serve by hand…").waitFor();
  check((await page.locator(".chip.bad, .notice.bad").count()) === 0, "work by hand is no failure");
  await settled(page, "a request to be handed over", "desk-by-hand");
  await page.goto(at(`/requests/${given.waiting}`));
  await page.getByText("Waiting for the applicant").waitFor();
  const other = await page.context().newPage();
  await other.goto(at(`/requests/${given.waiting}/revoke`));
  await page.bringToFront();
  const select = page.locator("#extend-in");
  await select.focus();
  await other.getByRole("button", { name: "Withdraw the link" }).click();
  await other.waitForURL(/done=revoked/);
  await page.waitForResponse((answer) => answer.url().includes(given.waiting), { timeout: 5000 }).then(() => check(false, "it looked while somebody was at a field"), () => {});
  await select.blur();
  await page.locator(".title .chip", { hasText: "Withdrawn" }).waitFor();
  check((await page.locator("#live").textContent()).includes("Withdrawn"), "the change is announced");
  await settled(page, "a page that was updated", "desk-updated");
  await page.context().close();
}

// A note for colleagues, by the keyboard; a reload adds nothing.
async function notes() {
  const page = await visit(browser, { viewport: desktop });
  await signIn(page);
  await page.goto(at(`/requests/${given.held}`));
  await page.getByLabel("Add a note").focus();
  await page.keyboard.type("Called back at ten.\nThe new passport comes next week.");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.getByText("The note was added.").waitFor();
  const list = page.getByRole("region", { name: "Notes" }).locator("blockquote");
  check((await list.count()) === 1 && (await list.textContent()).includes("Called back at ten."), "the note is shown");
  await settled(page, "a request with a note", "desk-note");
  await page.reload();
  check((await list.count()) === 1, "a reload added nothing");
  await page.setViewportSize(tall);
  await settled(page, "a request with a note on a phone", "desk-note-phone");
  await page.context().close();
}

// Taken and given away by the keyboard alone; the list is cut down to what is nobody's.
async function assigning() {
  const page = await visit(browser, { viewport: desktop });
  await signIn(page);
  await page.goto(at(`/requests/${given.held}`));
  const who = page.getByLabel("Assigned to");
  await who.focus();
  check((await who.inputValue()) === "none", "it is nobody's");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  check((await page.evaluate(() => document.activeElement.textContent)) === "Assign to me", "the second button takes it");
  await page.keyboard.press("Enter");
  await page.getByText("The request is assigned.").waitFor();
  await settled(page, "a request that somebody has", "desk-assigned");
  check((await page.getByRole("button", { name: "Assign to me" }).count()) === 0, "nobody takes what they have");
  await page.goto(at("/requests"));
  check((await page.locator("td[data-label='Assigned to']").allTextContents()).some((cell) => cell !== "Nobody"), "the list says whose it is");
  await settled(page, "the list with a column of who has what", "desk-assigned-list");
  await page.getByLabel("Assigned to").focus();
  await page.keyboard.type("Nob");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Show" }).focus();
  await page.keyboard.press("Enter");
  await page.waitForURL(/assigned=none/);
  check((await page.locator(`a[href="/requests/${given.held}"]`).count()) === 0, "what somebody has is not nobody's");
  await page.setViewportSize(tall);
  await settled(page, "the list of what is nobody's on a phone", "desk-nobodys-phone");
  await page.goto(at(`/requests/${given.held}`));
  await page.getByLabel("Assigned to").focus();
  await page.keyboard.type("Nob");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.getByText("The request is nobody’s now.").waitFor();
  await settled(page, "a request that is nobody's on a phone", "desk-nobodys-request-phone");
  clean(page, "assigning");
  await page.context().close();
}

// Several at once, by the keyboard.
async function several() {
  const page = await visit(browser, { viewport: desktop });
  await signIn(page);
  await page.goto(at("/requests"));
  await page.locator("[data-all] input").focus();
  await page.keyboard.press("Space");
  const boxes = await page.locator("[name=id]").count();
  check(boxes > 2 && (await page.locator("[name=id]:checked").count()) === boxes, "one box ticks all");
  await settled(page, "the list with boxes", "desk-list");
  await page.getByRole("button", { name: "Ask again…" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Ask again for these documents?" }).waitFor();
  await settled(page, "the question for several", "desk-sure");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "What became of each" }).waitFor();
  await settled(page, "the results for several", "desk-results");
  await page.reload();
  await page.getByRole("heading", { name: "What became of each" }).waitFor();
  await page.goto(at("/requests"));
  const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Export (CSV)" }).click()]);
  check(file.suggestedFilename() === "nightdrop-requests.csv", "the file has a name");
  clean(page, "several at once");
  await page.context().close();
  const auditor = await visit(browser, { viewport: desktop });
  await auditor.goto(at("/sign-in"));
  await auditor.getByLabel("E-mail address").fill(given.auditor);
  await auditor.getByLabel("Password").fill(given.password);
  await auditor.getByRole("button", { name: "Sign in", exact: true }).click();
  await auditor.getByRole("heading", { name: "Audit log" }).waitFor();
  const tall = await auditor.locator("td[data-label='No.']").evaluateAll((cells) => cells.filter((cell) => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return range.getClientRects().length > 1;
  }).length);
  check(tall === 0, "a number of the audit log is broken");
  await settled(auditor, "the audit log", "desk-audit");
  await auditor.setViewportSize(tablet);
  await settled(auditor, "the audit log on a tablet", "desk-audit-tablet");
  await auditor.context().close();
}

async function looks() {
  const all = [
    ["tablet", tablet, { colorScheme: "light" }],
    ["phone", tall, { colorScheme: "dark" }],
    ["noscript", tall, { colorScheme: "light", javaScriptEnabled: false }],
  ];
  for (const [look, viewport, options] of all) {
    const page = await visit(browser, { viewport, ...options });
    await signIn(page);
    await page.goto(at("/requests/new"));
    await page.locator("#applicant").fill("acct_" + look);
    await page.locator("#document").selectOption("selfie");
    await page.locator("#provider").selectOption("sandbox");
    await page.locator("main form button.primary").click();
    await page.locator("#url").waitFor();
    await settled(page, `the link on a ${look}`, `desk-issued-${look}`);
    await page.goto(at("/requests"));
    await settled(page, `the list on a ${look}`, `desk-list-${look}`);
    await page.goto(at(`/requests/${given.held}`));
    const [actions, facts] = await Promise.all([page.locator("#actions"), page.getByRole("heading", { name: "Request", exact: true })].map((part) => part.boundingBox()));
    check(viewport.width > 960 || actions.y < facts.y, "what can be done comes first on a phone");
    await settled(page, `a request on a ${look}`, `desk-request-${look}`);
    await page.context().close();
  }
}
