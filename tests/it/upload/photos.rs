//! Several photos of one document: one PDF for the provider, whichever way they come.

use std::process::Command;

use nightdrop::testing::inspect::{FileType, FileTypes, JoinedPhotos, Limits, Policy};
use serde_json::Value;

use crate::raw::assert_nothing_held;
use crate::resume::Part;
use crate::support::{Folder, Link, TestApp, form, sha256};

const PHOTO: &[u8] = include_bytes!("../../fixtures/inspect/gps-thumbnail.jpg");
const PALETTE: &[u8] = include_bytes!("../../fixtures/inspect/palette.png");
const CMYK: &[u8] = include_bytes!("../../fixtures/inspect/cmyk.jpg");
const PDF: &[u8] = include_bytes!("../../fixtures/inspect/photo.pdf");

const PHOTOS: [&[u8]; 3] = [PHOTO, PALETTE, CMYK];

/// The PDF of these photos.
pub fn pdf(photos: &[&[u8]]) -> Vec<u8> {
    let lengths: Vec<u64> = photos.iter().map(|photo| photo.len() as u64).collect();
    let limits = Limits {
        accepted: FileTypes::of(&FileType::ALL),
        min_side: 1,
        ..Limits::default()
    };
    let mut joined = JoinedPhotos::new(
        Policy {
            limits,
            ..Policy::default()
        },
        &lengths,
    );
    let mut out = Vec::new();
    joined.push(&photos.concat(), &mut out).unwrap();
    joined.finish(&mut out).unwrap();
    out
}

async fn statement(app: &TestApp) -> Link {
    app.link_for("bank-statement", None).await
}

/// What a browser sends of a form with all its inputs: those that were left empty, too.
async fn send(app: &TestApp, link: &Link, files: &[(&str, &[u8])]) -> (u16, Value) {
    let (body, kind) = form(files);
    let empty = b"------WebKitFormBoundaryHx7nightdrop\r\nContent-Disposition: form-data; name=\"front\"; filename=\"\"\r\n\r\n\r\n";
    let request = app
        .http
        .post(app.public(&link.path))
        .header("content-type", kind)
        .header("accept", "application/json");
    let answer = request.body([&empty[..], &empty[..], &body].concat()).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn arrived(app: &TestApp) -> Value {
    app.work().await;
    let mut received = app.received().await;
    let document = received.pop().unwrap();
    assert_nothing_held(app, "after the purge").await;
    document["parts"][0].clone()
}

#[tokio::test]
async fn photos_of_a_form_arrive_as_the_pages_of_one_pdf_in_their_order() {
    let app = TestApp::new().await;
    for order in [[0, 1, 2], [2, 1, 0]] {
        let photos = order.map(|n| PHOTOS[n]);
        let (status, body) = send(&app, &statement(&app).await, &photos.map(|photo| ("front-pages", photo))).await;
        assert_eq!(status, 200, "{body}");
        let part = arrived(&app).await;
        assert_eq!(part["sha256"], sha256(&pdf(&photos)), "{part}");
    }
}

#[tokio::test]
async fn photos_of_a_resumed_upload_arrive_as_the_same_pdf() {
    let app = TestApp::new().await;
    let link = statement(&app).await;
    let part = Part::of(&app, &link, "front");
    let run = PHOTOS.concat();
    let lengths = PHOTOS.map(|photo| photo.len().to_string()).join(",");
    assert_eq!(part.announce(run.len(), &lengths).await.status(), 201);
    let mut offset = 0;
    // Over four connections, cut in the middle of photos.
    for piece in run.chunks(run.len() / 4 + 1) {
        let answer = part.patch(offset as u64, piece).await;
        assert_eq!(answer.status(), 204, "{answer:?}");
        offset += piece.len();
    }
    assert_eq!(arrived(&app).await["sha256"], sha256(&pdf(&PHOTOS)));
}

#[tokio::test]
async fn what_cannot_be_pages_is_refused_and_the_link_still_works() {
    let app = TestApp::new().await;
    let link = statement(&app).await;
    let transparent: &[u8] = include_bytes!("../../fixtures/inspect/transparent.png");
    let many: Vec<(&str, &[u8])> = vec![("front-pages", PALETTE); 21];
    type Files<'a> = &'a [(&'a str, &'a [u8])];
    let refused: [(&str, Files<'_>, u16, &str); 6] = [
        (
            "a PDF as a page",
            &[("front-pages", PHOTO), ("front-pages", PDF)],
            422,
            "file.not_a_page",
        ),
        ("a transparent picture", &[("front-pages", transparent)], 422, "file.not_a_page"),
        (
            "half a photo",
            &[("front-pages", PHOTO), ("front-pages", &PHOTO[..PHOTO.len() / 2])],
            422,
            "file.truncated",
        ),
        ("too many", &many, 422, "file.too_many_pages"),
        ("nothing", &[("front-pages", b"")], 422, "file.empty"),
        ("pages of no part", &[("back-pages", PHOTO)], 400, "request.malformed"),
    ];
    for (name, files, status, code) in refused {
        let answer = send(&app, &link, files).await;
        assert_eq!((answer.0, answer.1["code"].as_str()), (status, Some(code)), "{name}: {}", answer.1);
    }
    let passport = app.link_for("passport", None).await;
    let answer = send(&app, &passport, &[("front-pages", PHOTO)]).await;
    assert_eq!(answer.0, 400, "a passport has one page: {}", answer.1);
    let both = send(&app, &link, &[("front-pages", PHOTO), ("front", PDF)]).await;
    assert_eq!((both.0, both.1["code"].as_str()), (400, Some("file.twice")), "{}", both.1);
}

#[tokio::test]
async fn lengths_that_do_not_fit_begin_no_upload() {
    let app = TestApp::new().await;
    let link = statement(&app).await;
    let part = Part::of(&app, &link, "front");
    let length = PHOTO.len();
    let wrong = [
        ("more than the whole", format!("{length},1"), 422),
        ("less", format!("{}", length - 1), 422),
        ("an empty one", format!("{length},0"), 422),
        ("no numbers", "one,two".to_owned(), 400),
        ("too many", vec!["1"; 21].join(","), 422),
        ("beyond counting", format!("{},{}", u64::MAX / 2, u64::MAX / 2), 422),
    ];
    for (name, lengths, status) in wrong {
        assert_eq!(part.announce(length, &lengths).await.status(), status, "{name}");
    }
    assert_eq!(part.head().await.status(), 404, "nothing was begun");
    let passport = app.link_for("passport", None).await;
    let part = Part::of(&app, &passport, "front");
    assert_eq!(
        part.announce(length, &length.to_string()).await.status(),
        422,
        "a passport has one page"
    );
}

#[test]
#[ignore = "needs qpdf and poppler-utils: run tests/run"]
fn other_readers_find_the_pages_and_the_pictures_as_they_were_sent() {
    let folder = Folder::new();
    let file = folder.path().join("photos.pdf");
    std::fs::write(&file, pdf(&PHOTOS)).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .arg(&file)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = [&output.stdout[..], &output.stderr].concat();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&said));
        String::from_utf8_lossy(&said).into_owned()
    };
    assert!(run("qpdf", &["--check"]).contains("No syntax or stream encoding errors"));
    assert_eq!(run("qpdf", &["--show-npages"]).trim(), "3");
    let pictures = run("pdfimages", &["-list"]);
    let encodings: Vec<&str> = pictures.lines().skip(2).filter_map(|line| line.split_whitespace().nth(8)).collect();
    assert_eq!(encodings, ["jpeg", "image", "jpeg"], "{pictures}");
}
