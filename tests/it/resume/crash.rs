//! The process dies, the upload does not.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use nightdrop::testing::app::App;
use nightdrop::testing::config::Config;
use nightdrop::testing::storage::clock::Source;

use super::{Part, held, number};
use crate::raw::assert_nothing_held;
use crate::support::{Link, TestApp, png, sha256};

const FOLDER: &str = "NIGHTDROP_RESUME_FOLDER";

/// A portal in a process of its own, on the folder of a app that is stopped.
struct Portal {
    child: Child,
    public: String,
}

impl Portal {
    fn start(app: &TestApp, test: &str) -> Self {
        std::fs::write(app.folder.path().join("nightdrop.toml"), app.text()).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(FOLDER, app.folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let public = lines.find_map(|line| Some(line.unwrap().split_once("listening on ")?.1.to_owned()));
        // Read on, so that it never waits for a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            public: public.expect("the portal did not start"),
        }
    }

    /// As `kill -9` does.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// What the child does: serve until it is killed. `false` for the test itself.
fn is_portal() -> bool {
    let Ok(folder) = std::env::var(FOLDER) else { return false };
    nightdrop::testing::connectors::client::install_tls();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let text = std::fs::read_to_string(format!("{folder}/nightdrop.toml")).unwrap();
        let config = Config::parse(&text, folder.as_ref(), std::iter::empty()).unwrap();
        let running = App::open(config, Source::System).await.unwrap().start_with(false).await.unwrap();
        use std::io::Write;
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nlistening on {}", running.public).unwrap();
        out.flush().unwrap();
        drop(out);
        std::future::pending::<()>().await;
    });
    true
}

struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    fn of(portal: &Portal, link: &Link) -> Self {
        Self {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            url: format!("http://{}{}/parts/front", portal.public, link.path),
        }
    }

    /// Where it stands, if the portal still answers.
    async fn offset(&self) -> Option<u64> {
        let head = self.http.head(&self.url).header("Tus-Resumable", "1.0.0").send().await.ok()?;
        assert!(head.status() == 200 || head.status() == 410, "{head:?}");
        (head.status() == 200).then(|| number(&head, "upload-offset"))
    }

    /// Sends one piece; what was acknowledged, if anything was.
    async fn patch(&self, offset: u64, bytes: Vec<u8>) -> Option<u64> {
        let sent = self
            .http
            .patch(&self.url)
            .header("Tus-Resumable", "1.0.0")
            .header("Upload-Offset", offset)
            .header("Content-Type", "application/offset+octet-stream")
            .body(bytes)
            .send()
            .await
            .ok()?;
        assert!([204, 409, 410].contains(&sent.status().as_u16()), "{sent:?}");
        (sent.status() == 204).then(|| number(&sent, "upload-offset"))
    }
}

#[test]
fn twenty_kills_cost_nothing_that_was_acknowledged() {
    if is_portal() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut app = TestApp::new().await;
        let link = app.link_for("passport", None).await;
        let file = png(40, 4_000_000);
        assert_eq!(Part::of(&app, &link, "front").begin(file.len()).await.status(), 201);
        app.stop().await;
        app.let_go().await;
        let (mut acknowledged, mut moved) = (0u64, 0);
        for round in 0..20u64 {
            let portal = Portal::start(&app, "resume::crash::twenty_kills_cost_nothing_that_was_acknowledged");
            let client = Client::of(&portal, &link);
            let mut at = client.offset().await.expect("not complete yet");
            assert!(at >= acknowledged, "round {round}: {acknowledged} were acknowledged, {at} are here");
            moved += u64::from(at > acknowledged);
            let killed = async {
                tokio::time::sleep(std::time::Duration::from_millis(20 + round * 53 % 400)).await;
                portal.kill();
            };
            let sending = async {
                // Two in three rounds in pieces, else all that is left but the end; the last byte is for afterwards.
                while at < file.len() as u64 - 1 {
                    let most = if round % 3 == 0 {
                        file.len()
                    } else {
                        90_000 + 7_919 * round as usize
                    };
                    let end = (at as usize + most).min(at as usize + 600_000).min(file.len() - 1);
                    match client.patch(at, file[at as usize..end].to_vec()).await {
                        Some(told) => {
                            at = told;
                            acknowledged = told;
                        }
                        None => break,
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(30)).await;
                }
            };
            tokio::join!(killed, sending);
        }
        assert!(acknowledged > 100_000, "only {acknowledged} came: nothing was tested");
        app.open_again().await;
        let part = Part::of(&app, &link, "front");
        let at = part.offset().await;
        assert!(at >= acknowledged, "{moved}");
        assert_eq!(held(&app).await, (1, 1));
        assert_eq!(part.patch(at, &file[at as usize..]).await.status(), 204);
        app.work().await;
        assert_eq!(app.has("applicant-1").await, [(sha256(&file), 1)]);
        assert_nothing_held(&app, "after the purge").await;
    });
}

#[test]
fn a_kill_while_the_part_is_sealed_leaves_it_whole_or_unfinished() {
    if is_portal() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut app = TestApp::new().await;
        let file = png(41, 1_500_000);
        let (mut received, mut unfinished) = (0, 0);
        for round in 0..6u64 {
            let link = app.link_for("passport", None).await;
            let part = Part::of(&app, &link, "front");
            part.begin(file.len()).await;
            part.patch(0, &file[..file.len() - 100]).await;
            app.stop().await;
            app.let_go().await;
            let portal = Portal::start(&app, "resume::crash::a_kill_while_the_part_is_sealed_leaves_it_whole_or_unfinished");
            let client = Client::of(&portal, &link);
            let at = client.offset().await.unwrap();
            let (told, ()) = tokio::join!(client.patch(at, file[at as usize..].to_vec()), async {
                tokio::time::sleep(std::time::Duration::from_millis(round * 12)).await;
                portal.kill();
            });
            app.open_again().await;
            let part = Part::of(&app, &link, "front");
            let at = part.offset().await;
            if at == file.len() as u64 {
                received += 1;
            } else {
                assert_eq!(told, None, "acknowledged, and yet not received");
                assert_eq!(held(&app).await, (1, 1), "what was half sealed is destroyed at the start");
                assert_eq!(part.patch(at, &file[at as usize..]).await.status(), 204);
                unfinished += 1;
            }
            app.work().await;
            assert_nothing_held(&app, "after the purge").await;
        }
        assert!(unfinished > 0, "{received} received, {unfinished} unfinished");
        let has = app.has("applicant-1").await;
        assert_eq!(has.len(), 6);
        assert!(has.iter().all(|entry| *entry == (sha256(&file), 1)));
    });
}

#[tokio::test]
async fn a_restart_in_between_is_not_noticed() {
    let mut app = TestApp::new().await;
    let link = app.link().await;
    let (front, back) = (png(42, 200_000), png(43, 700_000));
    assert_eq!(Part::of(&app, &link, "front").send(&front).await.status(), 204);
    let part = Part::of(&app, &link, "back");
    part.begin(back.len()).await;
    part.patch(0, &back[..300_000]).await;
    app.restart().await;
    assert_eq!(Part::of(&app, &link, "front").offset().await, front.len() as u64);
    let part = Part::of(&app, &link, "back");
    assert_eq!(part.offset().await, 300_000);
    assert_eq!(part.patch(300_000, &back[300_000..]).await.status(), 204);
    app.work().await;
    let received = app.received().await;
    assert_eq!(received[0]["parts"][0]["sha256"], sha256(&front));
    assert_eq!(received[0]["parts"][1]["sha256"], sha256(&back));
}
