// tus-js-client against a portal: uploads a file, is interrupted in the middle, and resumes as a program would that starts anew.
// Given as JSON: url (of the part), file, chunk (bytes for each request, or null for all in one).
import { createRequire } from "node:module";
import { createReadStream, statSync } from "node:fs";

const require = createRequire(`${process.env.NIGHTDROP_TEST_PARTS}/`);
const tus = require("tus-js-client");
const given = JSON.parse(process.argv[2]);
const size = statSync(given.file).size;
const urlStorage = new tus.FileUrlStorage(`${given.file}.tus`);

function upload(interruptAt) {
  return new Promise((done, failed) => {
    const upload = new tus.Upload(createReadStream(given.file), {
      endpoint: given.url,
      uploadSize: size,
      chunkSize: given.chunk ?? Infinity,
      retryDelays: [0, 500, 1000],
      metadata: { filename: "pass.png", filetype: "image/png" },
      urlStorage,
      fingerprint: async () => "the-file",
      storeFingerprintForResuming: true,
      onError: failed,
      onProgress: (sent) => {
        if (interruptAt && sent >= interruptAt) {
          interruptAt = 0;
          upload.abort(false).then(() => done("interrupted"), failed);
        }
      },
      onSuccess: () => done("complete"),
    });
    upload.findPreviousUploads().then((before) => {
      if (before.length) upload.resumeFromPreviousUpload(before[0]);
      else if (!interruptAt) return failed(new Error("nothing to resume"));
      upload.start();
    }, failed);
  });
}

const first = await upload(size / 3);
if (first !== "interrupted") throw new Error(`not interrupted: ${first}`);
const second = await upload(0);
if (second !== "complete") throw new Error(second);
console.log("complete");
