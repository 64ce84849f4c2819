//! Slowloris: many connections, each of which sends next to nothing. Whatever one address or one link does, others are served.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use nightdrop::testing::http::body::BodyPace;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::raw::{Raw, end, file, head};
use crate::support::{Link, TestApp, TestOptions, client, form, png, until};

fn options(limits: &str) -> TestOptions {
    TestOptions {
        more: format!("[limits]\n{limits}\n"),
        ..TestOptions::default()
    }
}

async fn uploads_running(app: &TestApp) -> u64 {
    let metrics = app.http.get(app.staff("/metrics")).send().await.unwrap().text().await.unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix("nightdrop_uploads_running "));
    line.unwrap().parse().unwrap()
}

async fn passport(app: &TestApp) -> Link {
    app.link_for("passport", None).await
}

/// One upload from an address of its own.
async fn drop_from(app: &TestApp, link: &Link, address: [u8; 4]) -> u16 {
    let (body, kind) = form(&[("front", &png(1, 20_000))]);
    let post = client(IpAddr::from(address)).post(app.public(&link.path));
    let answer = post.header("content-type", kind).body(body).send().await.unwrap();
    answer.status().as_u16()
}

/// An upload that says how much it will send, sends little of it, and stays.
async fn stall(app: &TestApp, link: &Link, address: [u8; 4]) -> Raw {
    let body = [file("front", &png(1, 300_000)), end()].concat();
    let mut raw = Raw::from(app, IpAddr::from(address)).await;
    assert!(
        raw.send([head(&link.path, body.len(), "").as_bytes(), &body[..1_000]].concat())
            .await
    );
    raw
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_link_with_64_slow_uploads_locks_nobody_out() {
    let app = TestApp::with_options(options("uploads = 64\nuploads_per_address = 8\nuploads_per_link = 3")).await;
    let link = passport(&app).await;
    let mut slow = Vec::new();
    for n in 0..64 {
        slow.push(stall(&app, &link, [127, 0, 0, 2 + n % 8]).await);
    }
    until("the link has all the places it can get", async || uploads_running(&app).await >= 3).await;
    let mut others = Vec::new();
    for _ in 0..25 {
        others.push(passport(&app).await);
    }
    assert_eq!(uploads_running(&app).await, 3);
    let sent = others.iter().zip(1..).map(|(link, n)| drop_from(&app, link, [127, 0, 1, n]));
    let answers = futures_util::future::join_all(sent).await;
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    drop(slow);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_stalls_loses_its_place_to_one_that_sends() {
    let app = TestApp::with_options(TestOptions {
        // The pace alone would let them stay.
        pace: BodyPace {
            idle: Duration::from_secs(600),
            window: Duration::from_secs(600),
            ..BodyPace::default()
        },
        ..options("uploads = 2")
    })
    .await;
    let (a, b, c) = (passport(&app).await, passport(&app).await, passport(&app).await);
    let first = stall(&app, &a, [127, 0, 0, 2]).await;
    until("it has its place", async || uploads_running(&app).await == 1).await;
    let second = stall(&app, &b, [127, 0, 0, 3]).await;
    until("both have their places", async || uploads_running(&app).await == 2).await;
    until("another one got through", async || drop_from(&app, &c, [127, 0, 0, 4]).await == 200).await;
    let told = tokio::select! {
        answer = first.answer() => answer,
        answer = second.answer() => answer,
    };
    assert_eq!(told.status, 408, "{}", told.body);
    assert!(told.body.contains("too slow"), "{}", told.body);
}

/// Half a request from an address of its own.
async fn half_a_head(to: SocketAddr, from: [u8; 4], bytes: &[u8]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    // Refused ones may be closed already.
    let _ = stream.write_all(bytes).await;
    stream
}

const HALF: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Half";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_sent_heads_of_one_address_keep_nobody_waiting() {
    let app = TestApp::with_options(options("connections_per_address = 128\nsilent_per_address = 32")).await;
    let running = app.running.as_ref().unwrap();
    for (name, listener) in [("public", running.public), ("staff", running.staff)] {
        let mut halves = Vec::new();
        for _ in 0..2_300 {
            halves.push(half_a_head(listener, [127, 0, 0, 2], HALF).await);
        }
        let mut slowest = Duration::ZERO;
        for n in 1..20 {
            let begun = Instant::now();
            let asked = client(IpAddr::from([127, 0, 1, n]))
                .get(format!("http://{listener}/healthz"))
                .send();
            assert_eq!(asked.await.unwrap().status(), 200, "{name}");
            slowest = slowest.max(begun.elapsed());
        }
        crate::support::say(&format!(
            "{name}: with 2,300 half-sent heads of one address others waited at most {} ms",
            slowest.as_millis()
        ));
        // Without limits they wait until heads time out, after ten.
        assert!(slowest < Duration::from_secs(5), "{name}: {slowest:?}");
    }
}

/// Whether the portal ends this connection; what it says before is read.
async fn ends(mut stream: TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(90), stream.read_to_end(&mut said));
    // A reset is an end as well.
    let _ = read.await.expect("it stays open");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_does_not_come_ends_the_connection() {
    let app = TestApp::with_options(options("head_timeout = \"1s\"")).await;
    let running = app.running.as_ref().unwrap();
    for listener in [running.public, running.staff] {
        let said = ends(half_a_head(listener, [127, 0, 0, 2], HALF).await).await;
        assert!(said.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&said));
        let silent = ends(half_a_head(listener, [127, 0, 0, 2], b"").await).await;
        assert!(silent.is_empty() || silent.starts_with(b"HTTP/1.1 408 "));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "waits half a minute for a connection to end: run tests/run"]
async fn half_a_head_behind_an_answer_ends_the_connection_too() {
    let app = TestApp::with_options(options("head_timeout = \"1s\"")).await;
    let running = app.running.as_ref().unwrap();
    let halves = [running.public, running.staff].map(|listener| async move {
        let whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let said = ends(half_a_head(listener, [127, 0, 0, 2], &[whole, HALF].concat()).await).await;
        assert!(said.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&said));
    });
    futures_util::future::join_all(halves).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_handshakes_that_never_finish_keep_nobody_waiting() {
    let (cert, key) = certificate();
    let mut app = TestApp::with_options(options("silent_per_address = 32")).await;
    app.speak_tls(&cert, &key).await;
    let public = app.running.as_ref().unwrap().public;
    let mut halves = Vec::new();
    for _ in 0..1_000 {
        // The start of a ClientHello.
        halves.push(half_a_head(public, [127, 0, 0, 2], &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await);
    }
    let begun = Instant::now();
    let other = reqwest::Client::builder()
        .no_proxy()
        .local_address(IpAddr::from([127, 0, 0, 3]))
        .tls_danger_accept_invalid_certs(true)
        .build()
        .unwrap();
    let answer = other.get(format!("https://{public}/healthz")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    crate::support::say(&format!(
        "with 1,000 unfinished handshakes of one address another one waited {} ms",
        begun.elapsed().as_millis()
    ));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    for half in halves {
        ends(half).await;
    }
}

fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}
