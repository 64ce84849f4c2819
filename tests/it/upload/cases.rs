//! Files as real applicants have them, through the front door: the table of `tests/fixtures/cases`, one file of each kind that was once refused
//! or taken wrongly.

use std::path::Path;
use std::process::Command;

use nightdrop::testing::inspect::{FileType, FileTypes, Inspector, Limits, Policy};

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
    let limits = Limits {
        accepted: FileTypes::of(&FileType::ALL),
        ..Limits::default()
    };
    let mut inspector = Inspector::new(Policy {
        limits,
        ..Policy::default()
    });
    let mut out = Vec::new();
    inspector.push(&case(name), &mut out).unwrap();
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

fn tempfile(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("nightdrop-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
