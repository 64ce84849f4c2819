// The journey with the types that openapi-typescript makes of the OpenAPI document, and openapi-fetch; tests/it/generated.rs generates them, has the
// compiler check this file, and runs it.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.d.ts";

type Schemas = components["schemas"];

function given(name: string): string {
  const value = process.env[name];
  assert(value, name);
  return value;
}

const client = createClient<paths>({
  baseUrl: `${given("NIGHTDROP_URL")}/api/v1`,
  headers: { authorization: `Bearer ${given("NIGHTDROP_TOKEN")}` },
});

async function issue(applicant: string): Promise<Schemas["IssuedRequest"]> {
  const { data, error } = await client.POST("/requests", {
    params: { header: { "Idempotency-Key": applicant } },
    body: { provider: "sandbox", applicant, document: "passport", expires_in: "24h", ticket: "ZD-4711" },
  });
  assert(data, error?.detail);
  assert.equal(data.state, "awaiting");
  return data;
}

async function look(id: string): Promise<Schemas["Request"]> {
  const { data, error } = await client.GET("/requests/{id}", { params: { path: { id } } });
  assert(data, error?.detail);
  return data;
}

const issued = await issue("typescript-1");
const { id } = issued;
assert.equal((await issue("typescript-1")).id, id, "the same key, the same request");

const listed = await client.GET("/requests", { params: { query: { state: "awaiting", limit: 10 } } });
assert.deepEqual(listed.data?.requests.map((request) => request.id), [id]);
const found = await client.POST("/requests/search", { body: { find: "ZD-4711" } });
assert.deepEqual(found.data?.requests.map((request) => request.id), [id]);

const extended = await client.POST("/requests/{id}/extend", { params: { path: { id } }, body: { expires_in: "48h" } });
assert(extended.data && extended.data.link.expires_at > issued.expires_at);

const form = new FormData();
form.set("front", new Blob([new Uint8Array(readFileSync(given("PHOTO")))], { type: "image/png" }), "photo.png");
const link = `${given("NIGHTDROP_PUBLIC")}${new URL(issued.url).pathname}`;
const dropped = await fetch(link, { method: "POST", body: form });
assert.equal(dropped.status, 200, await dropped.text());

// The portal works by itself; a client looks from time to time.
const deadline = Date.now() + 60_000;
let request = await look(id);
while (request.state !== "purged") {
  assert(Date.now() < deadline, request.state);
  await new Promise((again) => setTimeout(again, 50));
  request = await look(id);
}
assert.equal(request.outcome, "confirmed");
const receipt = await client.GET("/requests/{id}/deletion-receipt", { params: { path: { id } } });
assert(typeof receipt.data === "object");
assert.equal(receipt.data.request, id);
assert.equal(receipt.data.number, request.receipt_number);

const other = await issue("typescript-2");
const revoked = await client.POST("/requests/{id}/revoke", { params: { path: { id: other.id } }, body: {} });
assert.equal(revoked.data?.state, "revoked");

const refused = await client.POST("/requests", { body: { provider: "sandbox", applicant: "a b", document: "passport", locale: "?" } });
assert.equal(refused.error?.code, "request.invalid");
assert.deepEqual(refused.error?.errors?.map((fault) => fault.field).sort(), ["applicant", "locale"]);
console.log("done");
