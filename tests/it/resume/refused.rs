//! Every refusal of the protocol, and that it changes nothing.

use data_encoding::BASE64;
use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::workflow::issue::{self, Expiry};
use time::Duration;

use super::{Part, code, held, number};
use crate::raw::assert_nothing_held;
use crate::support::{Link, TestApp, TestOptions, ask, png, sha256};

#[tokio::test]
async fn options_says_what_is_spoken() {
    let app = TestApp::new().await;
    let link = app.link().await;
    let part = Part::of(&app, &link, "front");
    // Without Tus-Resumable, as the protocol wants.
    let answer = app
        .http
        .request(reqwest::Method::OPTIONS, app.public(&part.path))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 204);
    assert_eq!(answer.headers()["tus-version"], "1.0.0");
    assert_eq!(answer.headers()["tus-resumable"], "1.0.0");
    assert_eq!(
        answer.headers()["tus-extension"],
        "creation,creation-with-upload,termination,expiration,checksum"
    );
    assert_eq!(answer.headers()["tus-checksum-algorithm"], "sha256,sha1");
    assert_eq!(number(&answer, "tus-max-size"), app.portal.policy.max_file);
    for method in ["GET", "PUT"] {
        let answer = part.request(method).send().await.unwrap();
        assert_eq!(answer.status(), 405);
        assert_eq!(answer.headers()["allow"], "OPTIONS, HEAD, POST, PATCH, DELETE");
    }
    assert_nothing_held(&app, "only asked").await;
}

#[tokio::test]
async fn headers_that_are_missing_or_broken_are_refused() {
    let app = TestApp::new().await;
    let link = app.link().await;
    let part = Part::of(&app, &link, "front");
    let most = app.request(&link).await.parts[0].max_bytes;
    let (length, kind) = ("Upload-Length", "Content-Type");
    let octets = "application/offset+octet-stream";
    let too_much = (most + 1).to_string();
    type Headers<'a> = Vec<(&'static str, &'a str)>;
    let cases: Vec<(&str, Headers<'_>, u16, &str)> = vec![
        ("POST", vec![], 400, "request.malformed"),
        ("POST", vec![(length, "-1")], 400, "request.malformed"),
        ("POST", vec![(length, "1e3")], 400, "request.malformed"),
        ("POST", vec![(length, "99999999999999999999")], 400, "request.malformed"),
        ("POST", vec![("Upload-Defer-Length", "1")], 400, "request.malformed"),
        ("POST", vec![(length, "0")], 422, "file.empty"),
        ("POST", vec![(length, &too_much)], 413, "file.too_big"),
        (
            "POST",
            vec![(length, "5000"), ("Upload-Metadata", "filename ***")],
            400,
            "request.malformed",
        ),
        (
            "POST",
            vec![(length, "5000"), ("Content-Encoding", "gzip")],
            415,
            "request.encoding",
        ),
        (
            "POST",
            vec![(length, "5000"), ("Sec-Fetch-Site", "cross-site")],
            403,
            "request.cross_site",
        ),
        (
            "POST",
            vec![(length, "5000"), ("Origin", "https://evil.example")],
            403,
            "request.cross_site",
        ),
        ("PATCH", vec![("Upload-Offset", "0")], 415, "request.encoding"),
        ("PATCH", vec![("Upload-Offset", "0"), (kind, "image/png")], 415, "request.encoding"),
        ("PATCH", vec![(kind, octets)], 400, "request.malformed"),
        ("PATCH", vec![(kind, octets), ("Upload-Offset", "x")], 400, "request.malformed"),
        ("PATCH", vec![(kind, octets), ("Upload-Offset", "0")], 404, "upload.none"),
        (
            "PATCH",
            vec![(kind, octets), ("Upload-Offset", "0"), ("Content-Encoding", "br")],
            415,
            "request.encoding",
        ),
        (
            "PATCH",
            vec![(kind, octets), ("Upload-Offset", "0"), ("Upload-Checksum", "md5 AAAA")],
            400,
            "request.malformed",
        ),
        (
            "PATCH",
            vec![(kind, octets), ("Upload-Offset", "0"), ("Sec-Fetch-Site", "same-site")],
            403,
            "request.cross_site",
        ),
        ("DELETE", vec![("Sec-Fetch-Site", "cross-site")], 403, "request.cross_site"),
        ("HEAD", vec![], 404, "upload.none"),
    ];
    for (method, headers, status, expected) in cases {
        let mut request = part.request(method);
        for (name, value) in &headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{method} {headers:?}");
        assert_eq!(answer.headers()["tus-resumable"], "1.0.0");
        assert_eq!(code(answer).await, expected, "{method} {headers:?}");
    }
    for version in [None, Some("0.2.2"), Some("1.0.1")] {
        let mut request = app.http.head(app.public(&part.path));
        if let Some(version) = version {
            request = request.header("Tus-Resumable", version);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.headers()["tus-version"].to_str().unwrap()),
            (412, "1.0.0")
        );
    }
    let elsewhere = Part::of(&app, &link, "side");
    assert_eq!(elsewhere.begin(5_000).await.status(), 404);
    assert_nothing_held(&app, "all refused").await;
}

#[tokio::test]
async fn dead_links_take_nothing() {
    let (options, clock) = TestOptions::default().with_clock();
    let app = TestApp::with_options(options).await;
    let revoked = app.link_for("passport", None).await;
    issue::revoke(&app.portal, revoked.id, Actor::Operator).await.unwrap();
    let used = app.link_for("passport", None).await;
    assert_eq!(app.drop_files(&used, &[("front", &png(1, 5_000))]).await.status(), 200);
    let mut short = ask("applicant-2", "passport");
    short.expires = Expiry::In(Duration::minutes(1));
    let expired = app.issue(short).await;
    clock.forward(Duration::minutes(1));
    let unknown = Link {
        id: used.id,
        token: "0".repeat(32),
        path: format!("/d/{}", "0".repeat(32)),
        passcode: None,
    };
    for (link, status, expected) in [
        (&revoked, 410, "link.revoked"),
        (&used, 410, "link.already_received"),
        (&expired, 410, "link.expired"),
        (&unknown, 404, "link.unknown"),
    ] {
        let part = Part::of(&app, link, "front");
        let mut answers = vec![part.begin(5_000).await, part.patch(0, b"x").await, part.delete().await];
        // A used link says where its part stands: all of it is here.
        match expected {
            "link.already_received" => assert_eq!(part.head().await.status(), 200),
            _ => answers.push(part.head().await),
        }
        for answer in answers {
            assert_eq!(answer.status(), status);
            assert_eq!(code(answer).await, expected);
        }
    }
    assert_eq!(held(&app).await, (1, 1), "the one that was used");
}

#[tokio::test]
async fn a_passcode_comes_first() {
    let app = TestApp::new().await;
    let mut ask = ask("applicant-1", "passport");
    ask.passcode = true;
    let link = app.issue(ask).await;
    let part = Part::of(&app, &link, "front");
    for answer in [
        part.begin(5_000).await,
        part.head().await,
        part.patch(0, b"x").await,
        part.delete().await,
    ] {
        assert_eq!(answer.status(), 403);
        assert_eq!(code(answer).await, "passcode.required");
    }
    let right = app.http.post(app.public(&format!("{}/passcode", link.path)));
    let right = right
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("passcode={}", link.passcode.clone().unwrap()))
        .send()
        .await
        .unwrap();
    let cookie = right.headers()["set-cookie"]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let begun = part
        .request("POST")
        .header("Upload-Length", 5_000)
        .header("Cookie", &cookie)
        .send()
        .await
        .unwrap();
    assert_eq!(begun.status(), 201);
    assert_eq!(part.head().await.status(), 403, "only for the browser that knew it");
}

#[tokio::test]
async fn bytes_that_do_not_fit_their_checksum_are_not_kept() {
    let app = TestApp::new().await;
    let link = app.link_for("passport", None).await;
    let file = png(30, 2_600_000);
    let part = Part::of(&app, &link, "front");
    part.begin(file.len()).await;
    let sha256_of = |bytes: &[u8]| {
        let digest = data_encoding::HEXLOWER.decode(sha256(bytes).as_bytes()).unwrap();
        format!("sha256 {}", BASE64.encode(&digest))
    };
    let first = sha256_of(&file[..100_000]);
    assert_eq!(
        part.patch_with(0, &file[..100_000], &[("Upload-Checksum", &first)]).await.status(),
        204
    );
    let mut damaged = file[100_000..].to_vec();
    damaged[1_500_000] ^= 1;
    let right = sha256_of(&file[100_000..]);
    let answer = part.patch_with(100_000, &damaged, &[("Upload-Checksum", &right)]).await;
    assert_eq!(answer.status().as_u16(), 460);
    assert_eq!(code(answer).await, "upload.checksum");
    assert_eq!(part.offset().await, 100_000, "not one byte of it");
    // Cut off, nobody can say whether it was right.
    let mut raw = crate::raw::Raw::to(&app).await;
    let head = format!(
        "PATCH {} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 100000\r\nUpload-Checksum: {right}\r\n\
         Content-Type: application/offset+octet-stream\r\nContent-Length: 2000000\r\n\r\n",
        part.path
    );
    raw.send([head.as_bytes(), &damaged[..1_700_000]].concat()).await;
    raw.glance(std::time::Duration::from_millis(300)).await;
    raw.vanish();
    assert_eq!(part.offset().await, 100_000);
    let answer = part.patch_with(100_000, &file[100_000..], &[("Upload-Checksum", &right)]).await;
    assert_eq!(answer.status(), 204);
    app.work().await;
    assert_eq!(app.has("applicant-1").await, [(sha256(&file), 1)]);
}

#[tokio::test]
async fn a_wrong_file_is_refused_at_its_beginning_or_at_its_end_and_the_link_stays() {
    let app = TestApp::new().await;
    let link = app.link_for("passport", None).await;
    let part = Part::of(&app, &link, "front");
    let page = b"<html>this is no photo, whatever its name says</html>".repeat(20_000);
    part.begin(page.len()).await;
    let answer = part.patch(0, &page).await;
    assert_eq!(answer.status(), 415);
    let text = answer.text().await.unwrap();
    assert!(text.contains("file.unknown_type") && text.contains("JPEG"), "{text}");
    assert_nothing_held(&app, "refused early").await;
    assert_eq!(part.head().await.status(), 404);
    // Only the end shows that it was cut off.
    let file = png(31, 500_000);
    part.begin(file.len() - 1_000).await;
    let answer = part.patch(0, &file[..file.len() - 1_000]).await;
    assert_eq!(answer.status(), 422);
    assert_eq!(code(answer).await, "file.truncated");
    assert_nothing_held(&app, "refused at the end").await;
    // In two connections: nobody looks along with the second, the pass at the end does.
    part.begin(page.len()).await;
    let mut mixed = file[..1_000].to_vec();
    mixed.extend_from_slice(&page[..page.len() - 1_000]);
    assert_eq!(part.patch(0, &mixed[..1_000]).await.status(), 204);
    let answer = part.patch(1_000, &mixed[1_000..]).await;
    assert_eq!(answer.status(), 422);
    assert_nothing_held(&app, "refused at the end").await;
    assert_eq!(part.send(&file).await.status(), 204);
    app.work().await;
    assert_eq!(app.has("applicant-1").await, [(sha256(&file), 1)]);
}

#[tokio::test]
async fn more_bytes_than_announced_are_refused() {
    let app = TestApp::new().await;
    let link = app.link_for("passport", None).await;
    let file = png(32, 100_000);
    let part = Part::of(&app, &link, "front");
    part.begin(file.len() - 10).await;
    let answer = part.patch(0, &file).await;
    assert_eq!(answer.status(), 413);
    assert_eq!(code(answer).await, "upload.too_long");
    // Without a length in front, too.
    let mut raw = crate::raw::Raw::to(&app).await;
    let head = format!(
        "PATCH {} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n\
         Content-Type: application/offset+octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
        part.path,
        file.len()
    );
    raw.send([head.as_bytes(), &file, b"\r\n0\r\n\r\n"].concat()).await;
    assert_eq!(raw.answer().await.status, 413);
    assert_eq!(part.offset().await, 0);
}

#[tokio::test]
async fn a_network_that_knows_only_post_is_enough() {
    let app = TestApp::new().await;
    let link = app.link_for("passport", None).await;
    let file = png(33, 100_000);
    let part = Part::of(&app, &link, "front");
    part.begin(file.len()).await;
    let instead = |method: &'static str| part.request("POST").header("X-HTTP-Method-Override", method);
    let answer = instead("PATCH")
        .header("Upload-Offset", 0)
        .header("Content-Type", "application/offset+octet-stream")
        .body(file[..50_000].to_vec())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 204);
    assert_eq!(part.offset().await, 50_000);
    assert_eq!(instead("DELETE").send().await.unwrap().status(), 204);
    assert_eq!(instead("GET ME").send().await.unwrap().status(), 405);
    assert_nothing_held(&app, "taken back").await;
}

#[tokio::test]
async fn without_room_nothing_is_begun() {
    let app = TestApp::with_options(TestOptions {
        slots: 16,
        ..TestOptions::default()
    })
    .await;
    for _ in 0..8 {
        let link = app.link().await;
        assert_eq!(Part::of(&app, &link, "front").begin(5_000).await.status(), 201);
        assert_eq!(Part::of(&app, &link, "back").begin(5_000).await.status(), 201);
    }
    let other = app.link().await;
    let answer = Part::of(&app, &other, "front").begin(5_000).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(code(answer).await, "storage.full");
}
