//! What arrives at the applicant's listener from mail programs, chats, browsers, proxies and programs: it is read as it was meant, and never further.

use std::net::IpAddr;

use nightdrop::testing::domain::token::PlainToken;
use reqwest::StatusCode;

use crate::raw::{BOUNDARY, Raw, end, file};
use crate::resume::Part;
use crate::support::{TestApp, TestOptions, client, form, png};

fn at(last: u8) -> reqwest::Client {
    client(IpAddr::from([127, 0, 9, last]))
}

async fn status(http: &reqwest::Client, app: &TestApp, path: &str) -> u16 {
    http.get(app.public(path)).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_link_with_something_behind_it_leads_to_its_page_and_is_no_guess() {
    let app = TestApp::new().await;
    let link = app.link_for("passport", None).await;
    let http = at(1);
    for glue in [
        ".",
        ")",
        "%3E",
        ",",
        "%E3%80%82",
        "%22",
        "'",
        ";",
        "!",
        "%C2%A0",
        "%20",
        "%E2%80%8B",
        "/",
        "/)",
        "//",
        "&amp;utm_source=mail",
        "*",
        "_",
        "%0D%0A",
        ".Thanks",
        "%EF%BC%8C%E8%B0%A2",
        "%2F",
        "%2520",
    ] {
        for method in [reqwest::Method::GET, reqwest::Method::HEAD] {
            let asked = http.request(method, app.public(&format!("{}{glue}", link.path)));
            let answer = asked.send().await.unwrap();
            assert_eq!(answer.status(), 303, "{glue}");
            assert_eq!(answer.headers()["location"], link.path.as_str(), "{glue}");
        }
    }
    for query in ["utm_source=mail&utm_medium=x", "amp;utm_source=mail", "", "fbclid=a.b_c-d"] {
        assert_eq!(status(&http, &app, &format!("{}?{query}", link.path)).await, 200, "{query}");
    }
    let turkish = format!("{}.?utm_source=mail&language=tr", link.path);
    let answer = http.get(app.public(&turkish)).send().await.unwrap();
    assert_eq!(answer.headers()["location"], format!("{}?language=tr", link.path));
    // None of it was a guess: all ten are left.
    for seed in 0..10 {
        let nobody = format!("/d/{}.", PlainToken::from_bytes([seed; 20]).encode());
        let answer = http.get(app.public(&nobody)).send().await.unwrap();
        let clean = answer.headers()["location"].to_str().unwrap().to_owned();
        assert_eq!(status(&http, &app, &clean).await, 404, "a wrong one counts where it leads");
    }
    assert_eq!(status(&http, &app, &format!("/d/{}", "0".repeat(32))).await, 429);
    // A program that was given the link with a full stop.
    let (body, kind) = form(&[("front", &png(1, 60_000))]);
    let dotted = app.public(&format!("{}.", link.path));
    let answer = http.post(dotted).header("content-type", kind).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_link_that_was_cut_or_grew_stays_unknown_and_counts() {
    let app = TestApp::new().await;
    let token = app.link().await.token;
    let (short, long) = (&token[..31], format!("{token}0"));
    let http = at(2);
    let wrong = [
        short.to_owned(),
        format!("{short}."),
        format!("{short}%20."),
        long.clone(),
        format!("{long}."),
        format!("{token}%00"),
        format!("%20{token}"),
        format!("{}.{}", &token[..15], &token[16..]),
        format!("{short}%C3%BC"),
        format!("x{token}."),
    ];
    for wrong in wrong {
        assert_eq!(status(&http, &app, &format!("/d/{wrong}")).await, 404, "{wrong}");
    }
    assert_eq!(status(&http, &app, &format!("/d/{short}.")).await, 429, "ten guesses");
    // Below a link there is nothing else, whoever asks.
    for path in [format!("/d/{token}/x"), format!("/d/{token}/passcode/x"), format!("/d/{short}/")] {
        assert_eq!(status(&at(3), &app, &path).await, 404, "{path}");
    }
}

#[tokio::test]
async fn a_post_is_judged_by_the_public_address_and_by_the_host() {
    // The address that the configuration gives is http://127.0.0.1; a proxy has put another host in its place.
    let app = TestApp::new().await;
    for (lines, wanted) in [
        ("", 200),
        ("Origin: http://127.0.0.1\r\n", 200),
        ("Origin: http://127.0.0.1:80\r\n", 200),
        ("Origin: http://upstream:8080\r\n", 200),
        ("Origin: null\r\n", 200),
        ("Origin: null\r\nSec-Fetch-Site: same-origin\r\n", 200),
        ("Sec-Fetch-Site: none\r\n", 200),
        ("Referer: http://127.0.0.1/d/x\r\n", 200),
        ("Origin: https://evil.example\r\n", 403),
        ("Origin: http://127.0.0.1:81\r\n", 403),
        ("Origin: http://127.0.0.1\r\nSec-Fetch-Site: same-site\r\n", 403),
        ("Origin: http://127.0.0.1\r\nSec-Fetch-Site: cross-site\r\n", 403),
        ("Origin: null\r\nReferer: https://evil.example/\r\n", 403),
        ("Referer: https://evil.example/127.0.0.1\r\n", 403),
        ("Origin: http://127.0.0.1\r\nOrigin: https://evil.example\r\n", 403),
        ("X-Forwarded-Host: evil.example\r\nOrigin: https://evil.example\r\n", 403),
    ] {
        let link = app.link_for("passport", None).await;
        let body = [file("front", &png(1, 60_000)), end()].concat();
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: upstream:8080\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {}\r\n{lines}\r\n",
            link.path,
            body.len()
        );
        let mut raw = Raw::to(&app).await;
        raw.send([head.as_bytes(), &body].concat()).await;
        let answer = raw.answer().await;
        assert_eq!(answer.status, wanted, "{lines:?}: {}", answer.body);
    }
}

/// A portal that shows two pages in a minute to one address, behind a proxy on this machine.
async fn behind_a_proxy(header: &str) -> TestApp {
    TestApp::with_options(TestOptions {
        more: format!("trusted_proxies = [\"127.0.0.1\"]\nforwarded_header = \"{header}\"\n[limits]\npages_per_address = 2\n"),
        ..TestOptions::default()
    })
    .await
}

#[tokio::test]
async fn a_limit_belongs_to_the_client_that_the_proxy_names() {
    for (header, spellings, invented) in [
        (
            "x-forwarded-for",
            [
                "203.0.113.9:1111",
                " 203.0.113.9 ",
                "9.9.9.9, 203.0.113.9:2222",
                "unknown, \u{e9}, ::ffff:203.0.113.9",
            ],
            ("forwarded", "for=198.51.100.1"),
        ),
        (
            "forwarded",
            [
                "for=\"203.0.113.9:1111\"",
                "For=203.0.113.9;proto=https",
                "for=9.9.9.9, for=203.0.113.9",
                "for=\"x, for=203.0.113.9",
            ],
            ("x-forwarded-for", "198.51.100.1"),
        ),
    ] {
        let app = behind_a_proxy(header).await;
        let link = app.link().await;
        let ask = async |value: &str| {
            let value = reqwest::header::HeaderValue::from_bytes(value.as_bytes()).unwrap();
            let request = app.http.get(app.public(&link.path)).header(header, value);
            // The header that this proxy passes on as the client wrote it.
            request.header(invented.0, invented.1).send().await.unwrap().status()
        };
        let answers: Vec<_> = futures_util::future::join_all(spellings.iter().map(|value| ask(value))).await;
        assert_eq!(
            answers.iter().filter(|s| **s == StatusCode::OK).count(),
            2,
            "{header}: one client in four spellings: {answers:?}"
        );
        let six = |last: &str| match header {
            "forwarded" => format!("for=\"[2001:db8::{last}]:443\""),
            _ => format!("[2001:db8::{last}]:443"),
        };
        assert_eq!(ask(&six("1")).await, 200, "{header}: another client");
        assert_eq!(ask(&six("2")).await, 200, "{header}: its neighbour in the same /64");
        assert_eq!(ask(&six("3")).await, 429, "{header}");
    }
}

#[tokio::test]
async fn a_client_without_a_trusted_proxy_cannot_choose_its_address() {
    let app = behind_a_proxy("x-forwarded-for").await;
    let link = app.link().await;
    let http = at(4);
    let mut answers = Vec::new();
    for n in 0..4 {
        let request = http.get(app.public(&link.path)).header("x-forwarded-for", format!("203.0.113.{n}"));
        answers.push(request.send().await.unwrap().status().as_u16());
    }
    assert_eq!(answers, [200, 200, 429, 429]);
}

#[tokio::test]
async fn a_program_that_lost_the_last_answer_hears_that_all_has_arrived() {
    let app = TestApp::new().await;
    let link = app.link_for("passport", None).await;
    let part = Part::of(&app, &link, "front");
    // What is kept of this photo is shorter than what was sent: its place is taken out.
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/cases");
    let photo = std::fs::read(format!("{folder}/apple-export-city.jpg")).unwrap();
    assert_eq!(part.begin(photo.len()).await.status(), 201);
    assert_eq!(part.patch(0, &photo).await.status(), 204);
    let stands = async |when: &str| {
        let head = part.head().await;
        assert_eq!(head.status(), 200, "{when}");
        for name in ["upload-offset", "upload-length"] {
            assert_eq!(head.headers()[name], photo.len().to_string(), "{when}: {name}");
        }
        assert_eq!(head.headers()["cache-control"], "no-store");
    };
    stands("received").await;
    assert_eq!(
        Part::of(&app, &link, "back").head().await.status(),
        410,
        "a part that was not asked for"
    );
    app.work().await;
    assert!(app.request(&link).await.document().is_none(), "purged");
    stands("purged").await;
    assert_eq!(part.patch(0, &photo).await.status(), 410, "nothing more is taken");
    assert_eq!(part.begin(photo.len()).await.status(), 410);
    assert_eq!(part.delete().await.status(), 410);
}

#[tokio::test]
async fn a_form_that_is_too_large_as_a_whole_is_told_how_large_it_may_be() {
    let app = TestApp::with_options(TestOptions {
        more: "[limits]\nmax_file = \"1MiB\"\n".into(),
        ..TestOptions::default()
    })
    .await;
    let link = app.link().await;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\nTransfer-Encoding: chunked\r\nAccept-Language: de\r\n\r\n",
        link.path
    );
    let mut raw = Raw::to(&app).await;
    let chunk = [b"10000\r\n".to_vec(), vec![b'x'; 0x10000], b"\r\n".to_vec()].concat();
    raw.send([head.as_bytes(), &chunk.repeat(40), b"0\r\n\r\n"].concat()).await;
    let answer = raw.answer().await;
    assert_eq!(answer.status, 413, "{}", answer.body);
    assert!(
        answer.body.contains("als alle Dateien zusammen sein dürfen: höchstens 2"),
        "{}",
        answer.body
    );
}
