//! Files as real applicants have them, through the front door: the table of `tests/fixtures/cases`, one file of each kind that was once refused
//! or taken wrongly.

use std::path::Path;
use std::process::Command;

use nightdrop::testing::inspect::{FileType, FileTypes, Inspector, Limits, Policy};
use serde_json::Value;

use super::passport;
use crate::raw::{Raw, end, part, upload};
use crate::support::{TestApp, TestOptions, sha256};

fn case(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/cases"))
}

/// What leaves, by the inspector alone.
fn kept(name: &str) -> Vec<u8> {
    kept_of(&case(name))
}

fn kept_of(file: &[u8]) -> Vec<u8> {
    let limits = Limits {
        accepted: FileTypes::of(&FileType::ALL),
        ..Limits::default()
    };
    let mut inspector = Inspector::new(Policy {
        limits,
        ..Policy::default()
    });
    let mut out = Vec::new();
    inspector.push(file, &mut out).unwrap();
    inspector.finish(&mut out).unwrap();
    out
}

async fn send(app: &TestApp, name: &str, kind: &str) -> (u16, String) {
    let link = passport(app).await;
    let head = format!("Content-Disposition: form-data; name=\"front\"; filename=\"{name}\"\r\nContent-Type: {kind}");
    let mut raw = Raw::to(app).await;
    raw.send(upload(&link.path, &[part(&head, &case(name)), end()].concat())).await;
    let answer = raw.answer().await;
    (answer.status, answer.body)
}

#[tokio::test]
async fn every_file_that_every_reader_opens_is_taken() {
    let app = TestApp::new().await;
    let taken = [
        ("bom.pdf", "application/pdf"),
        ("mime-head.pdf", "application/pdf"),
        ("trailing-2k-zero.pdf", "application/pdf"),
        ("owner-r3.pdf", "application/pdf"),
        ("link-javascript.pdf", "application/download"),
        ("text-javascript.pdf", "application/x-pdf"),
        ("factur-x.pdf", "application/pdf"),
        ("auto-print-js.pdf", "application/pdf"),
        ("pages-60.pdf", "application/pdf"),
        ("marker-00e1.jpg", "image/jpeg"),
        ("marker-ff00.jpg", "image/jpeg"),
        ("junk-between-segments.jpg", "image/jpeg"),
        ("fill-bytes.jpg", "image/jpeg"),
        ("samsung-motion.jpg", "image/jpeg"),
        ("png-named.jpg", "image/jpeg"),
        ("jpeg-named.heic", "image/heic"),
        ("apple-export-city.jpg", "text/html"),
        ("apng-one-frame.png", "image/png"),
    ];
    for (name, kind) in taken {
        let (status, body) = send(&app, name, kind).await;
        assert_eq!(status, 200, "{name}: {body}");
    }
    app.work().await;
    let received = app.received().await;
    let arrived: Vec<_> = received
        .iter()
        .map(|document| document["parts"][0]["sha256"].as_str().unwrap())
        .collect();
    assert_eq!(arrived.len(), taken.len());
    for (name, _) in taken {
        assert!(arrived.contains(&sha256(&kept(name)).as_str()), "{name}");
    }
}

#[tokio::test]
async fn what_is_refused_names_its_cause_and_the_way_out() {
    let app = TestApp::with_options(TestOptions {
        more: "[pdf]\nmax_pages = 50\nscripts = \"refuse\"\nattachments = \"refuse\"\nencrypted = \"refuse\"\n".into(),
        ..TestOptions::default()
    })
    .await;
    for (name, status, sentence) in [
        ("owner-r3.pdf", 422, "This PDF is encrypted, although it opens without a password."),
        (
            "factur-x.pdf",
            422,
            "This PDF contains another file as an attachment. Print it to a new PDF",
        ),
        (
            "auto-print-js.pdf",
            422,
            "This PDF contains active content such as a script. Print it to a new PDF",
        ),
        (
            "auto-print-packed.pdf",
            422,
            "This PDF contains active content such as a script. Print it to a new PDF",
        ),
        ("pages-60.pdf", 422, "The PDF has more than 50 pages."),
        ("password-r6.pdf", 422, "This PDF is protected with a password."),
        ("webp-named.jpg", 415, "A WebP picture is not accepted here. Save it as JPEG"),
        ("no-eoi.jpg", 422, "The file is incomplete."),
        ("samsung-panorama-no-eoi.jpg", 422, "The file is incomplete."),
    ] {
        let (got, body) = send(&app, name, "").await;
        assert_eq!(got, status, "{name}: {body}");
        assert!(body.contains(sentence), "{name}: {body}");
    }
}

#[tokio::test]
async fn a_heic_is_taken_where_the_document_takes_it() {
    for (accepted, status) in [("[\"image/jpeg\"]", 415), ("[\"image/jpeg\", \"image/heic\"]", 200)] {
        let app = TestApp::with_options(TestOptions {
            more: format!("[documents.photo]\nlabel = {{ en = \"Photo\" }}\nparts = [\"front\"]\naccepted = {accepted}\n"),
            ..TestOptions::default()
        })
        .await;
        let link = app.link_for("photo", None).await;
        let head = "Content-Disposition: form-data; name=\"front\"; filename=\"IMG_1.HEIC\"\r\nContent-Type: image/heic";
        let mut raw = Raw::to(&app).await;
        raw.send(upload(&link.path, &[part(head, &case("base.heic")), end()].concat()))
            .await;
        let answer = raw.answer().await;
        assert_eq!(answer.status, status, "{accepted}: {}", answer.body);
    }
}

/// What was cut must not cost a warning.
#[test]
#[ignore = "needs qpdf: run tests/run"]
fn what_leaves_of_a_pdf_opens_in_qpdf_without_a_warning() {
    let outside = tempfile("qpdf");
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.ends_with(".pdf") || name.starts_with("password") {
            continue;
        }
        let file = outside.join(&name);
        std::fs::write(&file, kept(&name)).unwrap();
        let said = Command::new("qpdf").arg("--check").arg(&file).output().unwrap();
        let words = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.status.success() && !words.contains("WARNING"), "{name}: {words}");
    }
    std::fs::remove_dir_all(outside).unwrap();
}

/// Whatever was put right or cut: the same pixels, by libjpeg and libpng.
#[test]
#[ignore = "needs Pillow: run tests/run"]
fn what_leaves_of_a_picture_shows_the_same_pixels() {
    let outside = tempfile("pixels");
    let program = "import sys\nfrom PIL import Image, ImageFile\nImageFile.LOAD_TRUNCATED_IMAGES = False\n\
                   a, b = (Image.open(path) for path in sys.argv[1:])\n\
                   assert a.convert('RGBA').tobytes() == b.convert('RGBA').tobytes()\n";
    let parts = std::env::var("NIGHTDROP_TEST_PARTS").expect("NIGHTDROP_TEST_PARTS is not set: run tests/run");
    for name in [
        "marker-00e1.jpg",
        "marker-ff00.jpg",
        "junk-between-segments.jpg",
        "fill-bytes.jpg",
        "samsung-motion.jpg",
        "apple-export-city.jpg",
        "apng-one-frame.png",
        "png-named.jpg",
    ] {
        let file = outside.join(name);
        std::fs::write(&file, kept(name)).unwrap();
        let said = Command::new("python3")
            .env("PYTHONPATH", Path::new(&parts).join("python"))
            .args(["-c", program])
            .args([folder().join(name), file])
            .output()
            .unwrap();
        assert!(said.status.success(), "{name}: {}", String::from_utf8_lossy(&said.stderr));
    }
    std::fs::remove_dir_all(outside).unwrap();
}

/// Where a photo was taken, in whatever place exiftool finds it: gone. How it is turned and which colours it has: still there.
#[test]
#[ignore = "needs exiftool: run tests/run"]
fn what_leaves_of_a_photo_says_nothing_of_the_place_and_still_how_it_is_turned() {
    let outside = tempfile("place");
    let all = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/inspect"));
    let photos = ["gps-thumbnail.jpg", "xmp-gps.jpg", "gps.png", "gps.heic"].map(|name| all.join(name));
    let photos = photos
        .into_iter()
        .chain(["apple-export-city.jpg", "samsung-motion.jpg", "base.heic"].map(|name| folder().join(name)));
    let mut with_place = 0;
    for photo in photos {
        let name = photo.file_name().unwrap().to_str().unwrap().to_owned();
        let file = outside.join(&name);
        std::fs::write(&file, kept_of(&std::fs::read(&photo).unwrap())).unwrap();
        let [before, after] = [&photo, &file].map(|path| exiftool(path));
        let places = |tags: &serde_json::Map<String, Value>| {
            let of_place = |tag: &String| {
                ["GPS", "City", "Location", "location", "Country", "State", "Province"]
                    .iter()
                    .any(|word| tag.contains(word))
            };
            tags.keys().filter(|tag| of_place(tag)).cloned().collect::<Vec<_>>()
        };
        with_place += usize::from(!places(&before).is_empty());
        assert_eq!(places(&after), Vec::<String>::new(), "{name}");
        for tag in [
            "Orientation",
            "Rotation",
            "ImageWidth",
            "ImageHeight",
            "ColorSpace",
            "ProfileDescription",
        ] {
            assert_eq!(before.get(tag), after.get(tag), "{name}: {tag}");
        }
        assert!(!after.contains_key("Error") && !after.contains_key("Warning"), "{name}: {after:?}");
    }
    assert!(with_place >= 5, "only {with_place} photos said where they were taken");
    std::fs::remove_dir_all(outside).unwrap();
}

/// All tags by their names.
fn exiftool(path: &Path) -> serde_json::Map<String, Value> {
    let said = Command::new("exiftool")
        .args(["-json", "-n", "-a", "-u"])
        .arg(path)
        .output()
        .unwrap();
    let tags: Value = serde_json::from_slice(&said.stdout).unwrap();
    tags[0].as_object().unwrap().clone()
}

/// A HEIC from which the place was cut is decoded to the same pixels.
#[test]
#[ignore = "needs libheif's examples: run tests/run"]
fn what_leaves_of_a_heic_is_decoded_by_libheif_to_the_same_pixels() {
    let outside = tempfile("heic");
    let inspect = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/inspect/gps.heic");
    for photo in [Path::new(inspect).to_owned(), folder().join("base.heic")] {
        let (before, after) = (std::fs::read(&photo).unwrap(), outside.join("after.heic"));
        std::fs::write(&after, kept_of(&before)).unwrap();
        let decoded = [("before.png", &photo), ("after.png", &after)].map(|(name, path)| {
            let picture = outside.join(name);
            let said = Command::new("heif-convert").arg(path).arg(&picture).output().unwrap();
            assert!(
                said.status.success(),
                "{}: {}",
                path.display(),
                String::from_utf8_lossy(&said.stderr)
            );
            std::fs::read(picture).unwrap()
        });
        let pixels = decoded.map(|png| pixel_data(&png));
        assert!(!pixels[0].is_empty() && pixels[0] == pixels[1], "{}", photo.display());
    }
    std::fs::remove_dir_all(outside).unwrap();
}

/// The pixels of a PNG as one encoder writes them, without what else it writes.
fn pixel_data(png: &[u8]) -> Vec<u8> {
    let (mut at, mut pixels) = (8, Vec::new());
    while let Some(head) = png.get(at..at + 8) {
        let length = u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
        if &head[4..] == b"IDAT" {
            pixels.extend_from_slice(&png[at + 8..at + 8 + length]);
        }
        at += 12 + length;
    }
    pixels
}

fn tempfile(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("nightdrop-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
