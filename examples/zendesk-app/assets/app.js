// nightdrop in the sidebar of a ticket. Every call goes through Zendesk's proxy, which puts the API key in there: this page never has it.
"use strict";

const client = ZAFClient.init();
const element = (id) => document.getElementById(id);

// What a state means for the agent who waits.
const STATES = {
  awaiting: "waiting for the customer", receiving: "arriving now", received: "arrived, not yet passed on", forwarding: "on its way to the provider",
  awaiting_confirmation: "with the provider, which is looking at it", needs_attention: "stopped: look at it in nightdrop", confirmed: "accepted by the provider",
  rejected: "refused by the provider", purging: "being deleted", purged: "deleted", expired: "the link ran out unused", revoked: "the link was withdrawn",
};
const OUTCOMES = { confirmed: "accepted by the provider", rejected: "refused by the provider", deadline: "deleted at the deadline", agent: "deleted by an agent", lost: "lost", infected: "infected, deleted" };

let portal, ticket, once;

// One call of the API. A failure is a problem document, whose sentence says what to do.
async function call(path, body, headers = {}) {
  try {
    return await client.request({
      url: `${portal}/api/v1${path}`, type: body ? "POST" : "GET", contentType: "application/json", dataType: "json", secure: true,
      headers: { Authorization: "Bearer {{setting.api_key}}", Accept: "application/json", ...headers },
      ...(body && { data: JSON.stringify(body) }),
    });
  } catch (failure) {
    throw new Error(failure.responseJSON?.detail ?? "nightdrop cannot be reached through Zendesk. See the app's README.");
  }
}

function say(said, fault = "") {
  element("said").textContent = said;
  element("fault").textContent = fault;
}

// Whatever fails is told, and nothing is half done on the page.
async function attempt(act) {
  try {
    await act();
  } catch (failure) {
    say("", failure.message);
  }
}

async function showMissing() {
  const [applicant, provider] = [element("applicant").value.trim(), element("provider")];
  element("missing").textContent = "";
  element("kinds").replaceChildren();
  if (!applicant || provider.selectedOptions[0]?.dataset.lists !== "true") return;
  const { missing } = await call(`/providers/${encodeURIComponent(provider.value)}/missing`, { applicant });
  const kinds = missing.map((one) => one.document).filter(Boolean);
  element("kinds").replaceChildren(...kinds.map((kind) => new Option(kind, kind)));
  element("missing").textContent = kinds.length ? `The provider still wants: ${kinds.join(", ")}.` : "The provider wants nothing more.";
  if (!element("document").value && kinds.length) element("document").value = kinds[0];
}

async function showRequests() {
  const applicant = element("applicant").value.trim();
  const list = applicant ? (await call("/requests/search", { applicant, limit: 10 })).requests : [];
  const whole = await Promise.all(list.map((one) => call(`/requests/${one.id}`)));
  const mine = whole.filter((one) => (one.ticket ?? one.metadata?.ticket) === ticket);
  const item = (text) => {
    const line = document.createElement("li");
    line.append(text);
    return line;
  };
  const lines = mine.map((one) => {
    const at = document.createElement("time");
    at.dateTime = one.created_at;
    at.textContent = new Date(one.created_at).toLocaleString();
    const line = item(`${one.document}: ${OUTCOMES[one.outcome] ?? STATES[one.state] ?? one.state}, asked `);
    line.append(at);
    return line;
  });
  element("requests").replaceChildren(...(lines.length ? lines : [item("Nothing yet.")]));
}

// Sent twice, the same form gives the same link.
async function issue() {
  const applicant = element("applicant").value.trim();
  const body = { provider: element("provider").value, applicant, document: element("document").value.trim(), passcode: element("passcode").checked, ticket, metadata: { ticket } };
  once ??= crypto.randomUUID();
  const issued = await call("/requests", body, { "Idempotency-Key": once });
  await client.invoke("ticket.comment.appendText", issued.message.body);
  once = undefined;
  say(`The link is in your reply, for this customer alone.${issued.passcode ? ` Code ${issued.passcode}: tell it by telephone, never in this ticket.` : ""}`);
  await showRequests();
}

async function start() {
  const { settings } = await client.metadata();
  portal = settings.portal.replace(/\/+$/, "");
  const field = `ticket.customField:custom_field_${settings.applicant_field}`;
  const about = await client.get(["ticket.id", field]);
  ticket = `ZD-${about["ticket.id"]}`;
  element("applicant").value = about[field] ?? "";
  const { providers } = await call("/providers");
  element("provider").replaceChildren(...providers.map((one) => {
    const option = new Option(one.name, one.name);
    option.dataset.lists = one.lists_missing;
    return option;
  }));
  element("issue").disabled = false;
  await Promise.all([showMissing(), showRequests()]);
}

element("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  element("issue").disabled = true;
  say("");
  attempt(issue).finally(() => { element("issue").disabled = false; });
});
// Another form is another request.
element("ask").addEventListener("input", () => { once = undefined; });
element("provider").addEventListener("change", () => attempt(showMissing));
element("applicant").addEventListener("change", () => attempt(async () => { await showMissing(); await showRequests(); }));
element("again").addEventListener("click", () => attempt(async () => { say(""); await showRequests(); }));

client.invoke("resize", { width: "100%", height: "560px" });
attempt(start);
