//! A portal whose records and sealed documents are in PostgreSQL: what an applicant's document goes through, outages under load, and what is refused in words.

#[path = "../../src/storage/postgres/tests/cluster.rs"]
#[allow(dead_code)]
pub mod cluster;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use nightdrop::testing::app::{self, App, KeyProtection};
use nightdrop::testing::config::Config;
use nightdrop::testing::crypto::envelope::Suite;
use nightdrop::testing::domain::request::RequestState;
use nightdrop::testing::storage::clock::Source;
use reqwest::StatusCode;

use crate::cli::{done, nightdrop};
use crate::resume::Part;
use crate::support::{Folder, Link, TestApp, TestOptions, ask, form, png, private, sha256, until};

use cluster::Cluster;

/// The server of this test run, which no test stops.
pub fn server() -> &'static Cluster {
    static SERVER: OnceLock<Cluster> = OnceLock::new();
    SERVER.get_or_init(|| Cluster::start(&[]))
}

/// A portal on a database, and the file with the database's address.
struct Site {
    app: TestApp,
    url: String,
    _address: Folder,
}

impl Site {
    async fn on(url: String, options: TestOptions) -> Self {
        let address = Folder::new();
        let more = format!("{}{}", table(&address, &url), options.more);
        Self {
            app: TestApp::with_options(TestOptions { more, ..options }).await,
            url,
            _address: address,
        }
    }

    /// The database's name.
    fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap()
    }
}

/// The table of a configuration about a database, with its address in a file of that folder.
fn table(folder: &Folder, url: &str) -> String {
    let file = folder.path().join("database");
    private(&file, url);
    format!("[database]\nurl_file = \"{}\"\n", file.display())
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run tests/run"]
async fn a_document_comes_at_once_or_in_pieces_is_delivered_and_leaves_nothing() {
    let mut site = Site::on(server().database(), TestOptions::default()).await;
    let (front, back, late) = (png(1, 700_000), png(2, 90_000), png(3, 300_000));
    let at_once = site.app.link().await;
    let answer = site.app.drop_files(&at_once, &[("front", &front), ("back", &back)]).await;
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    let in_pieces = site.app.link_for("passport", None).await;
    let part = Part::of(&site.app, &in_pieces, "front");
    assert_eq!(part.begin(late.len()).await.status(), 201);
    assert_eq!(part.patch(0, &late[..200_000]).await.status(), 204);
    site.app.restart().await;
    let part = Part::of(&site.app, &in_pieces, "front");
    assert_eq!(
        part.offset().await,
        200_000,
        "what was acknowledged before the restart is here after it"
    );
    assert_eq!(part.patch(200_000, &late[200_000..]).await.status(), 204);

    let asked = |sql: &str| server().sql(site.name(), sql);
    assert_ne!(asked("SELECT count(*) FROM chunk"), "0");
    for photo in [&front, &back, &late] {
        let piece = hex(&photo[5_000..5_032]);
        assert_eq!(
            asked(&format!(
                "SELECT count(*) FROM chunk WHERE position('\\x{piece}'::bytea IN data) > 0"
            )),
            "0"
        );
    }
    let applicant = hex(b"applicant-1");
    assert_eq!(
        asked(&format!(
            "SELECT count(*) FROM request WHERE position('\\x{applicant}'::bytea IN row) > 0"
        )),
        "0"
    );

    site.app.work().await;
    let received = site.app.received().await;
    let sums: Vec<_> = received
        .iter()
        .flat_map(|document| document["parts"].as_array().unwrap())
        .map(|part| part["sha256"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(sums, [sha256(&front), sha256(&back), sha256(&late)], "byte for byte, each once");
    for link in [&at_once, &in_pieces] {
        assert_eq!(site.app.state(link).await, RequestState::Purged);
        let page = site
            .app
            .http
            .get(site.app.public(&link.path))
            .header("accept", "application/json")
            .send()
            .await
            .unwrap();
        let page: serde_json::Value = serde_json::from_str(&page.text().await.unwrap()).unwrap();
        assert!(page["purged_at"].is_string(), "{page}");
    }
    assert_eq!(asked("SELECT (SELECT count(*) FROM chunk) + (SELECT count(*) FROM file)"), "0");
    assert!(site.app.portal.erasure.live().unwrap().is_empty());
    let entries: Vec<_> = std::fs::read_dir(site.app.data())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        entries
            .iter()
            .all(|name| ["keys", "erasure"].contains(&name.as_str()) || name.starts_with("checkpoints")),
        "{entries:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run tests/run"]
async fn the_metrics_are_those_of_the_page() {
    let site = Site::on(server().database(), TestOptions::default()).await;
    let shown = site
        .app
        .http
        .get(site.app.staff("/metrics"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations/postgresql.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `nightdrop_"));
    let names: Vec<&str> = rows
        .flat_map(|row| row.split(" | ").next().unwrap().split('`'))
        .filter(|name| name.starts_with("nightdrop_"))
        .collect();
    assert!(names.len() > 4, "{names:?}");
    for name in names {
        assert!(shown.lines().any(|line| line.starts_with(&format!("{name} "))), "{name}\n{shown}");
    }
    for unknown in [
        "nightdrop_store_flushes_total ",
        "nightdrop_last_backup_timestamp_seconds ",
        "nightdrop_store_bytes{",
    ] {
        assert!(!shown.lines().any(|line| line.starts_with(unknown)), "{unknown}");
    }
    assert!(shown.contains("\nnightdrop_database_up 1\n"), "{shown}");
}

/// Sends a form until the portal says something final; what it says meanwhile is 503 with the time to wait. Whether it was told as received.
async fn persistent(app: &TestApp, link: &Link, photo: &[u8]) -> bool {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < Duration::from_secs(120), "nothing final was said in two minutes");
        let (body, kind) = form(&[("front", photo)]);
        let sent = app
            .http
            .post(app.public(&link.path))
            .header("content-type", kind)
            .header("accept", "application/json");
        // An answer before the end of the body may cost the connection.
        let Ok(answer) = sent.body(body).timeout(Duration::from_secs(40)).send().await else {
            continue;
        };
        match answer.status() {
            StatusCode::OK => return true,
            StatusCode::SERVICE_UNAVAILABLE => {
                assert!(answer.headers().contains_key("retry-after"), "{answer:?}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            StatusCode::CONFLICT => {
                // An earlier try had arrived, whose answer was lost; or it is still being given up.
                if answer.text().await.is_ok_and(|text| text.contains("link.already_received")) {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            other => panic!("{other}: {}", answer.text().await.unwrap()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run tests/run"]
async fn an_outage_under_load_is_told_in_time_and_loses_nothing_acknowledged() {
    let own = Cluster::start(&[]);
    let options = TestOptions {
        worker: true,
        more: "[limits]\nuploads = 200\nuploads_per_address = 200\n".into(),
        ..TestOptions::default()
    };
    let site = Arc::new(Site::on(own.database(), options).await);
    let mut links = Vec::new();
    for n in 0..40 {
        links.push(site.app.issue(ask(&format!("load-{n}"), "passport")).await);
    }
    let sent: Vec<_> = (0..4)
        .map(|sender| {
            let (site, links) = (site.clone(), links.clone());
            tokio::spawn(async move {
                let mut sums = BTreeMap::new();
                for n in (sender..links.len()).step_by(4) {
                    let photo = png(n as u64, 150_000);
                    if persistent(&site.app, &links[n], &photo).await {
                        sums.insert(format!("load-{n}"), sha256(&photo));
                    }
                }
                sums
            })
        })
        .collect();
    let received = "SELECT count(*) > 6 FROM audit";
    for mode in ["immediate", "fast"] {
        until("there is load", async || own.sql(site.name(), received) == "t").await;
        tokio::task::block_in_place(|| own.halt(mode));
        let begun = Instant::now();
        let ask = |address: String| site.app.http.get(address).send();
        let page = ask(site.app.public(&links[39].path)).await.unwrap();
        assert_eq!(page.status(), 503);
        assert!(page.headers().contains_key("retry-after"));
        assert_eq!(ask(site.app.public("/readyz")).await.unwrap().status(), 503);
        assert_eq!(
            ask(site.app.public("/healthz")).await.unwrap().status(),
            200,
            "starting the portal anew mends nothing"
        );
        until("the metrics say so", async || {
            let metrics = ask(site.app.staff("/metrics")).await.unwrap();
            metrics.status() == 200 && metrics.text().await.unwrap().contains("\nnightdrop_database_up 0\n")
        })
        .await;
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        tokio::task::block_in_place(|| own.go());
        until("it is ready again", async || {
            ask(site.app.public("/readyz")).await.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
    }
    let mut acknowledged = BTreeMap::new();
    for sums in sent {
        acknowledged.extend(sums.await.unwrap());
    }
    assert_eq!(acknowledged.len(), links.len());
    until("all of them are delivered and purged", async || {
        let mut purged = true;
        for link in &links {
            purged &= site.app.state(link).await == RequestState::Purged;
        }
        purged
    })
    .await;
    for (applicant, sum) in acknowledged {
        assert_eq!(site.app.has(&applicant).await, [(sum, 1)], "{applicant}: the same bytes, once");
    }
    // What was given up while the database was away is noted within a minute.
    until("nothing is left", async || {
        own.sql(site.name(), "SELECT count(*) FROM chunk") == "0"
    })
    .await;
}

/// Why a portal does not start.
async fn refusal(config: Config) -> String {
    match App::open(config, Source::System).await {
        Ok(_) => panic!("it started"),
        Err(why) => why.to_string(),
    }
}

fn parsed(text: &str, folder: &Folder) -> Config {
    Config::parse(text, folder.path(), std::iter::empty()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run tests/run"]
async fn what_does_not_belong_together_is_refused_in_words() {
    let mut site = Site::on(server().database(), TestOptions::default()).await;
    let text = site.app.text().to_owned();
    let with = |url: &str| {
        let address = Folder::new();
        let changed = text.replace(&table(&site._address, &site.url), &table(&address, url));
        assert_ne!(changed, text);
        (changed, address)
    };
    // The file holds the right address again.
    table(&site._address, &site.url);

    // The same database from a second data folder, and a second process on the first one.
    let other = Folder::new();
    for name in ["sandbox-key", "webhook"] {
        std::fs::copy(site.app.folder.path().join(name), other.path().join(name)).unwrap();
    }
    let second = parsed(&text, &other);
    app::create(&second, &KeyProtection::KekFile, Suite::X25519).unwrap();
    let why = app::bind_database(&second).await.unwrap_err().to_string();
    assert!(
        why.contains("another nightdrop holds this database") && why.contains("not built yet"),
        "{why}"
    );
    let why = refusal(site.app.config().clone()).await;
    assert!(why.contains("another nightdrop holds this database"), "{why}");
    site.app.stop().await;
    site.app.let_go().await;
    // As `init` leaves it.
    server().sql(site.name(), "UPDATE meta SET value = 'finished' WHERE name = 'init'");
    let why = app::bind_database(&second).await.unwrap_err().to_string();
    assert!(why.contains("holds a portal already") && !why.contains("test@"), "{why}");
    let why = refusal(second).await;
    assert!(
        why.contains("belongs to another portal") && why.contains("nothing was changed"),
        "{why}"
    );

    // The right data folder with other databases.
    for (url, sentence) in [
        (server().database(), "holds no portal"),
        (server().address("nowhere"), "no such database"),
    ] {
        let (changed, _address) = with(&url);
        let why = refusal(parsed(&changed, &site.app.folder)).await;
        assert!(why.contains(sentence), "{why}");
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let begun = Instant::now();
    let (changed, _address) = with(&format!("postgres://nightdrop:geheim@127.0.0.1:{free}/d"));
    let why = refusal(parsed(&changed, &site.app.folder)).await;
    assert!(
        why.contains("cannot be reached") && why.contains("refused") && !why.contains("geheim"),
        "{why}"
    );
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());

    // Without its table, and the table beside an embedded store.
    let bare = text.replace(&table(&site._address, &site.url), "");
    let why = refusal(parsed(&bare, &site.app.folder)).await;
    assert!(
        why.contains("the configuration names no database") && why.contains("database.url_file"),
        "{why}"
    );
    let mut embedded = TestApp::new().await;
    embedded.stop().await;
    embedded.let_go().await;
    let address = Folder::new();
    let both = embedded.text().replace(
        "[providers.sandbox]",
        &format!("{}[providers.sandbox]", table(&address, &server().database())),
    );
    let why = refusal(parsed(&both, &embedded.folder)).await;
    assert!(why.contains("the store of records") && why.contains("remove [database]"), "{why}");
    embedded.open_again().await;
    // And the right one goes on.
    site.app.open_again().await;
    let link = site.app.link_for("passport", None).await;
    site.app.drop_front(&link, 1).await;
}

#[test]
#[ignore = "needs PostgreSQL: run tests/run"]
fn the_demo_walks_the_whole_loop_in_a_database_and_empties_it() {
    let url = server().database();
    let folder = Folder::new();
    for _ in 0..2 {
        let said = done(nightdrop(&["demo", "--once", "--database", &url]).env("TMPDIR", folder.path()));
        assert!(said.contains("Every promise was kept") && !said.contains("test@"), "{said}");
    }
    let name = url.rsplit('/').next().unwrap();
    let left = "SELECT (SELECT count(*) FROM request) + (SELECT count(*) FROM chunk) + (SELECT count(*) FROM audit) + (SELECT count(*) FROM agent)";
    assert_eq!(server().sql(name, left), "0");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
