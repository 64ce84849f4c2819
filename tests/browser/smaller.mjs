// A photo over the part's limit. Arguments: a JSON object of links and of a folder for files, made by tests/it/browser.rs. Says what was sent: one JSON object.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { accessible, check, clean, fits, launch, shot, visit } from "./kit.mjs";

const given = JSON.parse(process.argv[2]);
const limit = 3_000_000;
const browser = await launch();
try {
  const photo = join(given.folder, "photo.jpg");
  writeFileSync(photo, await sideways());
  const sent = { resumable: await stepByStep(photo), plain: await byTheForm(photo) };
  await undecodable();
  await withoutScript(photo);
  console.log(JSON.stringify(sent));
} finally {
  await browser.close();
}

// A photo of 5 MB as a phone takes it when held upright: the sensor's picture lies on its side and EXIF says so. Red is where the sensor's top left corner is, and that
// is the top right corner of what a person sees.
async function sideways() {
  const page = await browser.newPage();
  const text = await page.evaluate(async () => {
    const canvas = document.createElement("canvas"), paint = canvas.getContext("2d");
    [canvas.width, canvas.height] = [3000, 2000];
    const noise = paint.createImageData(3000, 2000);
    for (let at = 0; at < noise.data.length; at += 65536) crypto.getRandomValues(noise.data.subarray(at, at + 65536));
    for (let at = 3; at < noise.data.length; at += 4) noise.data[at] = 255;
    paint.putImageData(noise, 0, 0);
    paint.fillStyle = "#f00";
    paint.fillRect(0, 0, 500, 500);
    for (let quality = 0.3; ; quality += 0.05) {
      const blob = await new Promise((done) => { canvas.toBlob(done, "image/jpeg", quality); });
      if (blob.size < 5e6) continue;
      return new Promise((done) => { const reader = new FileReader(); reader.onload = () => done(reader.result.split(",")[1]); reader.readAsDataURL(blob); });
    }
  });
  await page.close();
  const jpeg = Buffer.from(text, "base64");
  // TIFF, little-endian, one entry: orientation (0x0112) is 6, turned by a quarter to the right.
  const exif = Buffer.from("457869660000" + "49492a0008000000" + "0100" + "1201" + "0300" + "01000000" + "06000000" + "00000000", "hex");
  const length = Buffer.alloc(2);
  length.writeUInt16BE(exif.length + 2);
  return Buffer.concat([jpeg.subarray(0, 2), Buffer.from([0xff, 0xe1]), length, exif, jpeg.subarray(2)]);
}

// The file that stands in the input now, as a browser sees it.
async function chosen(page) {
  return page.locator("input:not([capture])").evaluate(async (input) => {
    const file = input.files[0], picture = await createImageBitmap(file);
    const canvas = new OffscreenCanvas(picture.width, picture.height), paint = canvas.getContext("2d");
    paint.drawImage(picture, 0, 0);
    const side = picture.width / 20;
    const red = (x, y) => { const [r, g, b] = paint.getImageData(x, y, 1, 1).data; return r > 180 && g < 80 && b < 80; };
    const hash = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
    return {
      size: file.size, name: file.name, width: picture.width, height: picture.height, right: red(picture.width - side, side), left: red(side, side),
      sha256: [...new Uint8Array(hash)].map((b) => b.toString(16).padStart(2, "0")).join(""),
    };
  });
}

async function accepted(page, photo) {
  await page.locator("input:not([capture])").setInputFiles(photo);
  await page.getByText("It was larger than 3 MB and was made smaller on your device.").waitFor({ timeout: 120_000 });
  const file = await chosen(page);
  check(file.size <= limit && file.size > limit / 3, `${file.size} bytes: under the limit, and no further than needed`);
  check(file.right && !file.left, "it stands upright");
  check(Math.abs(file.height / file.width - 1.5) < 0.01, `${file.width} × ${file.height}: the aspect ratio is kept`);
  check(Math.min(file.width, file.height) >= 1200, `${file.width} × ${file.height}: the part's smallest side`);
  check(file.name === "photo.jpg", file.name);
  return file;
}

async function stepByStep(photo) {
  const page = await visit(browser);
  await page.goto(given.resumable);
  const { sha256 } = await accepted(page, photo);
  await fits(page, "the smaller photo");
  await accessible(page, "the smaller photo");
  await shot(page, "form-phone-smaller");
  check(await page.locator(".ask").evaluate((e) => e === document.activeElement), "focus is at the question");
  await page.getByRole("button", { name: "Use this file" }).click();
  await page.getByRole("heading", { name: "Received. Thank you." }).waitFor({ timeout: 60_000 });
  clean(page, "a smaller photo");
  await page.context().close();
  return sha256;
}

// Where uploads by steps do not work, the form sends what was looked at.
async function byTheForm(photo) {
  const page = await visit(browser);
  await page.route("**/parts/**", (route) => route.fulfill({ status: 501 }));
  await page.goto(given.plain);
  const { sha256 } = await accepted(page, photo);
  await page.getByRole("button", { name: "Use this file" }).click();
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await page.getByRole("heading", { name: "Received. Thank you." }).waitFor({ timeout: 60_000 });
  clean(page, "a smaller photo by the form");
  await page.context().close();
  return sha256;
}

async function undecodable() {
  const page = await visit(browser);
  await page.goto(given.refused);
  const file = (mimeType) => ({ name: "scan", mimeType, buffer: Buffer.alloc(5_000_000, 7) });
  for (const type of ["image/jpeg", "application/pdf"]) {
    await page.locator("input:not([capture])").setInputFiles(file(type));
    await page.locator("#front-error").filter({ hasText: "This file is too large. At most 3 MB are accepted." }).waitFor();
    check(await page.locator("input:not([capture])").evaluate((input) => input.files.length) === 0, `${type}: nothing is left to send`);
    // The next choice begins anew.
    await page.reload();
  }
  clean(page, "files that cannot be made smaller");
  await page.context().close();
}

async function withoutScript(photo) {
  const page = await visit(browser, { javaScriptEnabled: false });
  await page.goto(given.refused);
  await page.locator("input:not([capture])").setInputFiles(photo);
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await page.getByText("This file is too large. At most 3 MB are accepted. To make a photo smaller, crop it").waitFor();
  await accessible(page, "the limit without scripts");
  clean(page, "too large without scripts");
  await page.context().close();
}
