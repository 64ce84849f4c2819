// Posts the form with one file, as fetch of Node.js (undici) writes it. Given as JSON: url (of the link), file. Prints the status.
import { openAsBlob } from "node:fs";
import { basename } from "node:path";

const given = JSON.parse(process.argv[2]);
const form = new FormData();
form.append("front", await openAsBlob(given.file, { type: "image/png" }), basename(given.file));
const answer = await fetch(given.url, { method: "POST", body: form });
console.log(answer.status);
process.exit(0);
