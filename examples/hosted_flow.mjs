// A company's own application around nightdrop, in Node.js: it asks for a document by API, sends its user to the one-time link, takes them back with a signed state,
// and is told by webhook what became of the document. Set it up as examples/hosted_flow.rs says, then:
//
//     npm install standardwebhooks
//     NIGHTDROP_URL=http://127.0.0.1:8081 NIGHTDROP_TOKEN=ndk_… WEBHOOK_SECRET=whsec_… node examples/hosted_flow.mjs
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const portal = process.env.NIGHTDROP_URL ?? "http://127.0.0.1:8081";
const key = process.env.NIGHTDROP_TOKEN;
const webhook = new Webhook(process.env.WEBHOOK_SECRET);
const listen = process.env.LISTEN ?? "127.0.0.1:3000";
// Older signatures are not believed.
const tolerance = 300;

// One call of the API.
async function call(path, body) {
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
  const answer = await fetch(`${portal}/api/v1${path}`, body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers });
  if (!answer.ok) throw new Error(`the portal refused: ${await answer.text()}`);
  return answer.json();
}

// Step 1: ask for the document. The answer's `url` is for this user alone.
function ask() {
  return call("/requests", {
    provider: process.env.PROVIDER ?? "sandbox",
    applicant: process.env.APPLICANT ?? "james",
    document: "passport",
    return_url: `http://${listen}/back`,
  });
}

// Step 2: the user is back. Whether it was nightdrop that sent them, the signature says.
async function cameBack(query) {
  const [request, state, at, signature] = ["request", "state", "at", "signature"].map((name) => query.get(`nightdrop_${name}`) ?? "");
  const { key: returnKey } = await call("/return-key");
  const expected = createHmac("sha256", returnKey).update(["nightdrop/v1/return", request, state, at].join("\n")).digest();
  const given = Buffer.from(signature, "hex");
  // Compared in constant time.
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
  return Math.abs(Number(at) - Date.now() / 1000) <= tolerance ? `${request} is ${state}` : undefined;
}

// Step 3: a webhook. A real application keeps the ids that it has seen: an event may come twice.
function told(headers, body) {
  try {
    return webhook.verify(body, headers);
  } catch {
    return undefined;
  }
}

async function read(visitor) {
  const pieces = [];
  for await (const piece of visitor) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

async function serve(visitor) {
  const url = new URL(visitor.url, `http://${listen}`);
  if (visitor.method === "GET" && url.pathname === "/") {
    const issued = await ask();
    console.log(`asked for ${issued.id}`);
    return [303, "", { location: issued.url }];
  }
  if (visitor.method === "GET" && url.pathname === "/back") {
    const said = await cameBack(url.searchParams);
    if (!said) return [403, "this did not come from nightdrop, or it is too old"];
    console.log(`back: ${said}`);
    return [200, `Thank you. ${said}`];
  }
  if (visitor.method === "POST" && url.pathname === "/events") {
    const event = told(visitor.headers, await read(visitor));
    if (!event) return [403, "this did not come from nightdrop"];
    console.log(`event: ${event.type} ${event.data.request}`);
    return [204, ""];
  }
  return [404, "nothing here"];
}

const [host, port] = listen.split(":");
createServer(async (visitor, answer) => {
  const [status, text, headers] = await serve(visitor).catch((error) => [502, error.message]);
  answer.writeHead(status, { "content-type": "text/plain; charset=utf-8", ...headers }).end(text);
}).listen(Number(port), host, () => console.log(`open http://${listen}/`));
