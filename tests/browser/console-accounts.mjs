// From the first admin to a second agent with a passkey and a first request, by nothing but the screens; then the screens of accounts one by one.
import { accessible, check, clean, desktop, fits, launch, phone, shot, tall, visit } from "./kit.mjs";
import { createHmac } from "node:crypto";

const given = JSON.parse(process.argv[2]);
const at = (path) => given.console + path;
const browser = await launch();
try {
  await firstDay();
  await codes();
  await byHand();
  await invitedByPasskey();
  await scriptless();
  await looks();
} finally {
  await browser.close();
}

async function person(options = {}) {
  const page = await visit(browser, { viewport: desktop, ...options });
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("WebAuthn.enable");
  const { authenticatorId } = await cdp.send("WebAuthn.addVirtualAuthenticator", {
    options: { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true },
  });
  page.authenticator = { cdp, authenticatorId };
  return page;
}

async function verified(page, is) {
  await page.authenticator.cdp.send("WebAuthn.setUserVerified", { authenticatorId: page.authenticator.authenticatorId, isUserVerified: is });
}

async function signIn(page, email, password) {
  await page.goto(at("/sign-in"));
  await page.getByLabel("E-mail address").fill(email);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
}

async function settled(page, words, name) {
  await fits(page, words);
  await accessible(page, words);
  if (name) await shot(page, name);
  clean(page, words);
}

async function firstDay() {
  const admin = await person();
  await signIn(admin, given.admin, given.password);
  await admin.getByRole("heading", { name: "First steps" }).waitFor();
  await settled(admin, "the first steps", "accounts-first-steps");
  await admin.getByRole("button", { name: /^Done.*Make a backup/ }).click();
  await admin.getByRole("button", { name: /^Done.*Make a backup/ }).waitFor({ state: "detached" });
  await admin.getByRole("link", { name: "Admin", exact: true }).click();
  await admin.getByRole("link", { name: "Agents", exact: true }).click();

  // A password of the admin's choice leads to one of one's own.
  await admin.getByText("Add somebody with a password instead").click();
  const add = admin.locator("form[action='/admin/agents']");
  await add.getByLabel("Name").fill("Ben Okri");
  await add.getByLabel("E-mail address").fill("ben@harbour.example");
  await add.getByLabel("New password").fill("passwordpassword");
  await add.getByRole("button", { name: "Add" }).click();
  await admin.getByText("too easy to guess").first().waitFor();
  check((await add.getByLabel("Name").inputValue()) === "Ben Okri", "what was typed is gone");
  await settled(admin, "the refused password", "accounts-agents-refused");
  await add.getByLabel("New password").fill("gravel oboe lighthouse tangerine");
  await add.getByRole("button", { name: "Add" }).click();
  await admin.getByText("The agent can sign in now").waitFor();
  const ben = await person();
  await signIn(ben, "ben@harbour.example", "gravel oboe lighthouse tangerine");
  await ben.getByRole("heading", { name: "Set your own password" }).waitFor();
  await settled(ben, "the first password of one's own", "accounts-first-password");
  await ben.getByLabel("New password").fill("umbrella sings at noon today");
  await ben.getByRole("button", { name: "Set the password" }).click();
  await ben.getByRole("heading", { name: "Overview" }).waitFor();

  // A click too many is asked for, and undone; then the account goes for good.
  await admin.getByRole("link", { name: "Change Ben Okri" }).click();
  await settled(admin, "one agent", "accounts-agent");
  await admin.getByRole("link", { name: "Disable…" }).click();
  await settled(admin, "asking before disabling", "accounts-disable");
  await admin.getByRole("button", { name: "Disable" }).click();
  await admin.getByText("The agent was disabled").waitFor();
  await settled(admin, "a disabled agent", "accounts-disabled");
  await admin.getByRole("button", { name: "Enable again" }).click();
  await admin.getByText("can sign in again").waitFor();
  await admin.getByRole("link", { name: "Delete…" }).click();
  await settled(admin, "asking before deleting", "accounts-delete");
  await admin.getByRole("button", { name: "Delete for good" }).click();
  await admin.getByText("The account is gone").waitFor();

  // By the keyboard alone: an invitation, and the link that is shown once.
  await admin.locator("#name").focus();
  await admin.keyboard.type("Ana Lopez");
  await admin.keyboard.press("Tab");
  await admin.keyboard.type("ana@harbour.example");
  await admin.keyboard.press("Tab");
  await admin.keyboard.type("manual-handler");
  await admin.keyboard.press("Tab");
  await admin.keyboard.press("Tab");
  await admin.keyboard.press("Enter");
  await admin.getByRole("heading", { name: "The link is ready" }).waitFor();
  await settled(admin, "the link of an invitation", "accounts-link");
  given.old = (await admin.locator("#link").inputValue()).replace(/^https?:\/\/[^/]+/, "");
  await admin.getByRole("link", { name: "To the account" }).click();
  await settled(admin, "an invited agent", "accounts-invited");
  await admin.getByRole("link", { name: "Make a sign-in link…" }).click();
  await admin.getByText("stops working").waitFor();
  await settled(admin, "asking before a new link", "accounts-new-link");
  await admin.getByRole("button", { name: "Make the link" }).click();
  const link = (await admin.locator("#link").inputValue()).replace(/^https?:\/\/[^/]+/, "");
  await admin.goto(at("/admin/agents"));
  await settled(admin, "the list of agents", "accounts-agents");

  const ana = await person();
  await ana.goto(at(given.old));
  await ana.getByText("does not work any more").waitFor();
  await settled(ana, "a link that was replaced", "accounts-invitation-dead");
  await ana.goto(at(link));
  await ana.getByRole("heading", { name: "Welcome, Ana Lopez" }).waitFor();
  check(await ana.getByRole("button", { name: "Make a passkey and sign in" }).isVisible(), "no passkey is offered");
  for (const [name, viewport] of [["", desktop], ["-tablet", { width: 768, height: 1024 }], ["-phone", tall]]) {
    await ana.setViewportSize(viewport);
    await settled(ana, `an invitation${name}`, `accounts-invitation${name}`);
  }
  await ana.setViewportSize(desktop);
  await ana.getByLabel("New password").focus();
  await ana.keyboard.type("gravel oboe lighthouse tangerine");
  await ana.keyboard.press("Enter");
  await ana.getByRole("heading", { name: "Overview" }).waitFor();
  await ana.getByRole("link", { name: "Ana Lopez" }).click();
  await ana.getByRole("link", { name: "Add a passkey" }).waitFor();
  await settled(ana, "a new account", "accounts-own-new");
  await ana.getByRole("link", { name: "Add a passkey" }).click();
  await ana.getByLabel("Its name").fill("Work laptop");
  await settled(ana, "adding a passkey", "accounts-passkey");
  await ana.getByRole("button", { name: "Add the passkey" }).click();
  await ana.getByRole("heading", { name: "Your recovery codes" }).waitFor();
  const shown = (await ana.getByLabel("Ten codes").inputValue()).split("\n");
  check(shown.length === 10 && new Set(shown).size === 10, "there are not ten codes");
  await settled(ana, "the recovery codes", "accounts-codes");
  await ana.getByRole("link", { name: "I have them" }).click();
  await ana.locator("strong", { hasText: "Work laptop" }).waitFor();
  await settled(ana, "an account with a passkey", "accounts-own");

  // The passkey alone is both factors, and needs its owner.
  await ana.getByRole("button", { name: "Sign out", exact: true }).click();
  await verified(ana, false);
  await ana.getByRole("button", { name: "Sign in with a passkey" }).click();
  await ana.getByText("the passkey was not used").waitFor();
  await verified(ana, true);
  await ana.getByRole("button", { name: "Sign in with a passkey" }).click();
  await ana.getByRole("heading", { name: "Overview" }).waitFor();
  // The password leads to one more step.
  await ana.getByRole("button", { name: "Sign out", exact: true }).click();
  await signIn(ana, "ana@harbour.example", "gravel oboe lighthouse tangerine");
  await ana.getByRole("heading", { name: "One more step" }).waitFor();
  await settled(ana, "the second step", "accounts-second");
  await ana.getByLabel("Recovery code").fill("0000-0000-0000-0000");
  await ana.getByRole("button", { name: "Go on" }).click();
  await ana.getByRole("alert").first().waitFor();
  await settled(ana, "a wrong code", "accounts-second-wrong");
  await ana.getByRole("button", { name: "Use a passkey" }).click();
  await ana.getByRole("heading", { name: "Overview" }).waitFor();

  // The first request.
  await ana.getByRole("link", { name: "New request" }).first().click();
  await ana.locator("[name=provider]").selectOption("sandbox");
  await ana.locator("[name=applicant]").fill("acct_first");
  await ana.locator("#document").selectOption("passport");
  await ana.locator("form[action='/requests/new'] button.primary").click();
  await ana.locator("#url").waitFor();
  check((await ana.locator("#url").inputValue()).includes("/d/"), "no link was shown");
  clean(ana, "the first request");

  // Twice the same authenticator is refused where it happens.
  await ana.goto(at("/account/passkeys"));
  await ana.getByLabel("Its name").fill("Again");
  await ana.getByRole("button", { name: "Add the passkey" }).click();
  await ana.getByText("has a passkey for your account already").waitFor();
  clean(ana, "the second passkey of one device");
  await ana.goto(at("/account"));
  await ana.getByRole("button", { name: "Remove Work laptop" }).click();
  await ana.getByText("It was removed").waitFor();
  await ana.getByRole("button", { name: "Sign out", exact: true }).click();
  await ana.getByRole("button", { name: "Sign in with a passkey" }).click();
  await ana.getByText("This passkey could not be used here.").waitFor();
  await settled(ana, "a removed passkey", "accounts-passkey-refused");
}

// A code as an app makes it.
function totp(secret, at) {
  const bits = [...secret.replace(/ /g, "")].map((c) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(c).toString(2).padStart(5, "0")).join("");
  const key = Buffer.from(bits.match(/.{8}/g).map((b) => parseInt(b, 2)));
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(at / 30000)));
  const hash = createHmac("sha1", key).update(step).digest();
  return String((hash.readUInt32BE(hash[19] & 15) & 0x7fffffff) % 1000000).padStart(6, "0");
}

async function codes() {
  const page = await person();
  await signIn(page, given.handler, given.password);
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  await page.goto(at("/account/app"));
  await page.getByText("The app cannot scan?").click();
  await settled(page, "adding an app", "accounts-app");
  const secret = await page.locator(".secret-key").innerText();
  await page.getByLabel("Code").fill("12 34 5");
  await page.getByRole("button", { name: "Add the app" }).click();
  await page.getByRole("alert").first().waitFor();
  await settled(page, "a wrong code while adding", "accounts-app-wrong");
  check((await page.locator(".secret-key").textContent()) === secret, "the secret changed while typing");
  await page.getByLabel("Code").fill(totp(secret, Date.now()));
  await page.getByRole("button", { name: "Add the app" }).click();
  await page.getByRole("heading", { name: "Your recovery codes" }).waitFor();
  await page.getByRole("link", { name: "I have them" }).click();
  await page.locator("strong", { hasText: "Authenticator app" }).waitFor();
  clean(page, "the app");
  given.session = await page.context().cookies();
}

async function byHand() {
  const page = await visit(browser, { viewport: desktop, acceptDownloads: true });
  await page.context().addCookies(given.session);
  await page.goto(at(`/requests/${given.held}`));
  await page.getByRole("link", { name: "Serve by hand…" }).click();
  await page.getByRole("button", { name: "Download front" }).waitFor();
  await settled(page, "serving by hand", "accounts-by-hand");
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download front" }).click()]);
  check(download.suggestedFilename() === `${given.held}-front.png`, download.suggestedFilename());
  await page.getByRole("link", { name: "Look again" }).click();
  await page.getByText("Downloaded", { exact: true }).waitFor();
  await settled(page, "serving by hand, one part downloaded", "accounts-by-hand-once");
}

// Somebody who is invited sets a passkey and no password.
async function invitedByPasskey() {
  const admin = await person();
  await signIn(admin, given.admin, given.password);
  await admin.goto(at("/admin/agents"));
  await admin.locator("#name").fill("Kim Park");
  await admin.locator("#email").fill("kim@harbour.example");
  await admin.getByRole("button", { name: "Invite" }).click();
  const link = (await admin.locator("#link").inputValue()).replace(/^https?:\/\/[^/]+/, "");
  const kim = await person();
  await kim.goto(at(link));
  await kim.getByRole("button", { name: "Make a passkey and sign in" }).click();
  await kim.getByRole("heading", { name: "Your recovery codes" }).waitFor();
  await settled(kim, "the codes of an invited agent");
  await kim.getByRole("link", { name: "I have them" }).click();
  await kim.locator("strong", { hasText: "First passkey" }).waitFor();
  await kim.locator("strong", { hasText: "Chrome on" }).waitFor();
  await kim.getByRole("button", { name: "Remove First passkey" }).click();
  await kim.getByText("the only way into your account").waitFor();
  await kim.goto(at("/account"));
  await kim.getByRole("button", { name: "Sign out", exact: true }).click();
  await kim.getByRole("button", { name: "Sign in with a passkey" }).click();
  await kim.getByRole("heading", { name: "Overview" }).waitFor();
  clean(kim, "an agent with a passkey alone");
}

async function scriptless() {
  const page = await visit(browser, { javaScriptEnabled: false });
  await page.goto(at("/sign-in"));
  check(!(await page.getByRole("button", { name: "Sign in with a passkey" }).isVisible()), "a button that does nothing");
  await fits(page, "signing in without scripts");
  await shot(page, "accounts-sign-in-noscript");
}

async function looks() {
  for (const [name, options] of [["phone", { viewport: phone }], ["dark", { viewport: desktop, colorScheme: "dark" }], ["phone-dark", { viewport: phone, colorScheme: "dark" }]]) {
    const page = await visit(browser, options);
    await page.goto(at("/sign-in"));
    await settled(page, `signing in, ${name}`, `accounts-sign-in-${name}`);
    await page.context().addCookies(given.session);
    for (const [path, words] of [["/account", "own"], ["/account/confirm", "confirm"], ["/account/passkeys", "passkey"], [`/requests/${given.held}/hand-over`, "by-hand"]]) {
      await page.goto(at(path));
      await settled(page, `${words}, ${name}`, `accounts-${words}-${name}`);
    }
    await page.context().clearCookies();
    await signIn(page, given.admin, given.password);
    await page.getByRole("heading", { name: "Overview" }).waitFor();
    await settled(page, `the first steps, ${name}`, `accounts-first-steps-${name}`);
    await page.goto(at("/admin/agents"));
    await settled(page, `the agents, ${name}`, `accounts-agents-${name}`);
    await page.getByRole("link", { name: "Change Ana Lopez" }).click();
    await page.waitForURL(/\/admin\/agents\/./);
    await settled(page, `one agent, ${name}`, `accounts-agent-${name}`);
    await page.goto(at("/admin/keys"));
    await settled(page, `the keys, ${name}`, `accounts-keys-${name}`);
  }
}
