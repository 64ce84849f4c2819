//! The staff listener answers to the hosts that it knows, and to no name that a foreign page has made resolve to it.

use crate::raw::{Answer, Raw};
use crate::support::{TestApp, TestOptions};

async fn asked(app: &TestApp, staff: bool, head: &str) -> Answer {
    let running = app.running.as_ref().unwrap();
    let mut raw = Raw::at(if staff { running.staff } else { running.public }).await;
    raw.send(head).await;
    raw.answer().await
}

#[tokio::test]
async fn the_staff_listener_answers_to_known_hosts_only() {
    let app = TestApp::with_options(TestOptions {
        more: "staff_url = \"https://console.example.com\"\nstaff_hosts = [\"nightdrop\"]\n".to_owned(),
        ..TestOptions::default()
    })
    .await;
    let staff = app.running.as_ref().unwrap().staff;
    let with = |path: &str, host: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    for host in [
        "console.example.com",
        "CONSOLE.Example.Com.",
        "console.example.com:443",
        "nightdrop:8081",
        "localhost",
        "127.0.0.1",
        "[::1]:1",
        &staff.to_string(),
    ] {
        for path in ["/sign-in", "/api/v1/requests", "/metrics"] {
            let answer = asked(&app, true, &with(path, host)).await;
            assert_ne!(answer.status, 421, "{host} {path} {}", answer.body);
        }
    }
    let strangers = [
        with("/sign-in", "evil.example"),
        with("/api/v1/requests", "evil.example:8081"),
        with("/metrics", "evil.example"),
        with("/nothing", "127.0.0.1.evil.example"),
        with("/sign-in", ""),
        // The target counts, whatever stands in the header.
        "GET http://evil.example/sign-in HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_owned(),
        "GET /sign-in HTTP/1.0\r\n\r\n".to_owned(),
        "GET /sign-in HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_owned(),
        "POST /sign-in HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            .to_owned(),
    ];
    for head in strangers {
        let answer = asked(&app, true, &head).await;
        assert!(answer.status == 421 || answer.status == 400, "{head:?} {answer:?}");
        assert!(answer.status == 400 || answer.body.contains("staff_hosts"), "{head:?} {answer:?}");
        assert!(!answer.body.contains("evil.example"));
        assert!(!answer.headers.contains_key("set-cookie"));
    }
    let answer = asked(
        &app,
        true,
        "GET http://localhost/sign-in HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(answer.status, 200, "an absolute form of a known host");
    for path in ["/healthz", "/readyz"] {
        for head in [
            with(path, "10.9.8.7"),
            with(path, "probe.internal"),
            format!("GET {path} HTTP/1.0\r\n\r\n"),
        ] {
            assert_eq!(asked(&app, true, &head).await.status, 200, "{head:?}");
        }
    }
}

#[tokio::test]
async fn the_public_listener_leaves_the_host_to_the_proxy() {
    let app = TestApp::new().await;
    let link = app.link().await;
    for host in ["drop.example.com", "upstream", "127.0.0.1:8080"] {
        let head = format!("GET {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", link.path);
        assert_eq!(asked(&app, false, &head).await.status, 200, "{host}");
    }
}
