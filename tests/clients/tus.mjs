// tus-js-client against a portal: uploads a file, is interrupted in the middle, and resumes as a program would that starts anew.
// Given as JSON: url (of the part), file, chunk (bytes for each request, or null for all in one).
import { createRequire } from "node:module";
import { createReadStream, statSync } from "node:fs";
import { connect, createServer } from "node:net";

const require = createRequire(`${process.env.NIGHTDROP_TEST_PARTS}/`);
const tus = require("tus-js-client");
const given = JSON.parse(process.argv[2]);
const size = statSync(given.file).size;
const urlStorage = new tus.FileUrlStorage(`${given.file}.tus`);

// A line that counts, so that the client is interrupted in the middle: what it tells of its own progress may be all at once, at the end.
let interrupt = null, passed = 0;
const portal = new URL(given.url);
const line = createServer((near) => {
  const far = connect(Number(portal.port), portal.hostname);
  near.on("data", (bytes) => {
    far.write(bytes);
    passed += bytes.length;
    if (interrupt && passed >= size / 3) { interrupt(); interrupt = null; near.destroy(); far.end(); }
  });
  near.on("end", () => far.end());
  far.pipe(near);
  near.setNoDelay();
  far.setNoDelay();
  near.on("error", () => far.destroy());
  far.on("error", () => near.destroy());
});
await new Promise((go) => line.listen(0, "127.0.0.1", go));
const endpoint = `http://127.0.0.1:${line.address().port}${portal.pathname}`;

function upload(resumes) {
  return new Promise((done, failed) => {
    const upload = new tus.Upload(createReadStream(given.file), {
      endpoint,
      uploadSize: size,
      chunkSize: given.chunk ?? Infinity,
      retryDelays: [0, 500, 1000],
      metadata: { filename: "pass.png", filetype: "image/png" },
      urlStorage,
      fingerprint: async () => "the-file",
      storeFingerprintForResuming: true,
      onError: failed,
      onSuccess: () => done("complete"),
    });
    if (!resumes) interrupt = () => upload.abort(false).then(() => done("interrupted"), failed);
    upload.findPreviousUploads().then((before) => {
      if (before.length) upload.resumeFromPreviousUpload(before[0]);
      else if (resumes) return failed(new Error("nothing to resume"));
      upload.start();
    }, failed);
  });
}

const first = await upload(false);
if (first !== "interrupted") throw new Error(`not interrupted: ${first}`);
const second = await upload(true);
if (second !== "complete") throw new Error(second);
// As if the answer to the last byte had been lost: it asks again, and hears that all has arrived.
const third = await upload(true);
if (third !== "complete") throw new Error(third);
console.log("complete");
process.exit(0);
