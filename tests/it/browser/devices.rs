//! What devices, their files and the proxies in front of the portal do to the upload page.

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::{HARBOUR, script};
use crate::support::{TestApp, TestOptions, png, until};

async fn app(more: &str) -> TestApp {
    TestApp::with_options(TestOptions {
        more: HARBOUR.replace("2MiB", "20MiB") + more,
        ..TestOptions::default()
    })
    .await
}

/// Browsers of years ago, and files that cannot be read any more: neither of them is a weak connection.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium, playwright-core and axe-core: run tests/run"]
async fn old_browsers_work_and_unreadable_files_are_named_at_once() {
    let app = app("").await;
    let noise = app.folder.path().join("noise.png");
    std::fs::write(&noise, png(5, 900_000)).unwrap();
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    let given = json!({
        "folder": app.folder.path(),
        "noise": noise,
        "fixtures": fixtures,
        "old": app.public(&app.link_for("passport", None).await.path),
        "unparsed": app.public(&app.link_for("passport", None).await.path),
        "changed": app.public(&app.link_for("passport", None).await.path),
        "changedPlain": app.public(&app.link_for("passport", None).await.path),
        "formats": app.public(&app.link_for("passport", None).await.path),
        "tabs": app.public(&app.link_for("passport", None).await.path),
        "elsewhere": app.public(&app.link_for("passport", None).await.path),
        "late": app.public(&app.link_for("passport", None).await.path),
        "never": app.public(&app.link_for("passport", None).await.path),
    });
    tokio::task::spawn_blocking(move || script("devices.mjs", &given)).await.unwrap();
    app.work().await;
    assert_eq!(app.received().await.len(), 8, "each drop of the browser was passed on once");
}

/// An nginx as the distribution ships it, in front of the portal.
struct Nginx {
    process: Child,
    address: String,
}

impl Nginx {
    async fn before(app: &TestApp) -> Self {
        let folder = app.folder.path().join("nginx");
        std::fs::create_dir_all(&folder).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let here = folder.display();
        let settings = format!(
            "daemon off; master_process off; pid {here}/pid; error_log stderr;\nevents {{}}\nhttp {{ access_log off; client_body_temp_path {here}; proxy_temp_path {here};\n\
            fastcgi_temp_path {here}; uwsgi_temp_path {here}; scgi_temp_path {here};\n\
            server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {}; proxy_request_buffering off; proxy_http_version 1.1;\n\
            proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr; }} }} }}\n",
            app.public("").trim_end_matches('/')
        );
        let file = folder.join("nginx.conf");
        std::fs::write(&file, settings).unwrap();
        let process = Command::new("/usr/sbin/nginx")
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx cannot be run: run tests/run");
        let address = format!("http://127.0.0.1:{port}");
        let nginx = Self { process, address };
        until("nginx answers", async || app.http.get(&nginx.address).send().await.is_ok()).await;
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// nginx takes bodies of 1 MiB at most, unless it is told otherwise, and its refusal is no page of ours.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nginx, Chromium, playwright-core and axe-core: run tests/run"]
async fn a_photo_of_five_megabytes_passes_an_nginx_that_takes_one() {
    let app = app("").await;
    let nginx = Nginx::before(&app).await;
    let noise = app.folder.path().join("noise.png");
    std::fs::write(&noise, png(5, 5_000_000)).unwrap();
    let small = app.folder.path().join("small.png");
    std::fs::write(&small, png(6, 500_000)).unwrap();
    let through = |path: &str| format!("{}{path}", nginx.address);
    let given = json!({
        "noise": noise,
        "small": small,
        "resumable": through(&app.link_for("passport", None).await.path),
        "plain": through(&app.link_for("passport", None).await.path),
    });
    let said = tokio::task::spawn_blocking(move || script("proxy.mjs", &given)).await.unwrap();
    let sent: Value = serde_json::from_str(&said).unwrap();
    app.work().await;
    let mut arrived: Vec<_> = app.received().await.iter().map(|r| r["parts"][0]["sha256"].clone()).collect();
    let mut wanted = vec![sent["noise"].clone(), sent["small"].clone()];
    arrived.sort_by_key(Value::to_string);
    wanted.sort_by_key(Value::to_string);
    assert_eq!(arrived, wanted, "byte for byte");
}

/// Files by camera, drag and paste; what is said while they are sent; and any side taken again until the last one is here.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium, playwright-core and axe-core: run tests/run"]
async fn files_come_by_every_way_and_can_be_taken_again_until_the_last_is_sent() {
    let app = app("").await;
    let noise = app.folder.path().join("noise.png");
    std::fs::write(&noise, png(5, 2_000_000)).unwrap();
    let given = json!({
        "noise": noise,
        "photo": app.folder.path().join("specimen.png"),
        "dragged": app.public(&app.link().await.path),
        "looked": app.public(&app.link_for("passport", None).await.path),
        "selfie": app.public(&app.link_for("selfie", None).await.path),
        "told": app.public(&app.link().await.path),
        "again": app.public(&app.link().await.path),
        "midway": app.public(&app.link().await.path),
        "formAgain": app.public(&app.link().await.path),
        "formKept": app.public(&app.link().await.path),
    });
    let said = tokio::task::spawn_blocking(move || script("choosing.mjs", &given)).await.unwrap();
    let wanted: Vec<Vec<String>> = serde_json::from_str(&said).unwrap();
    app.work().await;
    let hash = |part: &Value| part["sha256"].as_str().unwrap().to_owned();
    let received = app.received().await;
    let mut arrived: Vec<Vec<_>> = received
        .iter()
        .map(|r| r["parts"].as_array().unwrap().iter().map(hash).collect())
        .collect();
    let mut wanted: Vec<Vec<_>> = wanted;
    arrived.sort();
    wanted.sort();
    assert_eq!(arrived, wanted, "what was chosen last, in the order of the sides");
}
