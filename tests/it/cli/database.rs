//! The binary on PostgreSQL: the commands of `docs/operations/postgresql.md`, a portal that is killed, and what the other commands say of a database.

use std::path::Path;
use std::process::Command;

use nightdrop::testing::config::Config;
use serde_json::{Value, json as object};

use super::{Made, Process, Serving, complaint, done, fails, fails_with, http, init, json, out};
use crate::postgres::server;
use crate::support::{Folder, form, png, private, until};

/// A file with the address of a new database, and its address.
fn address(folder: &Folder) -> (String, String) {
    let (url, file) = (server().database(), folder.path().join("database-url"));
    private(&file, &url);
    (file.display().to_string(), url)
}

fn made() -> (Made, String, Folder) {
    let place = Folder::new();
    let (file, url) = address(&place);
    (Made::new(&["--sandbox", "--database-url-file", &file]), url, place)
}

async fn issue(made: &Made, serving: &Serving) -> Value {
    let body = object!({"provider": "sandbox", "applicant": "maria", "document": "passport"}).to_string();
    let asked = http().post(format!("{}/api/v1/requests", serving.staff)).bearer_auth(&made.api_key);
    let answer = asked.header("content-type", "application/json").body(body).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    json(&answer.text().await.unwrap())
}

/// The link at the port where the portal listens.
fn link(issued: &Value, serving: &Serving) -> String {
    let url = issued["url"].as_str().unwrap();
    format!("{}/d/{}", serving.public, url.rsplit("/d/").next().unwrap())
}

fn tus(method: &str, address: &str) -> reqwest::RequestBuilder {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    http().request(method, address).header("Tus-Resumable", "1.0.0")
}

async fn state(made: &Made, serving: &Serving, id: &str) -> String {
    let asked = http()
        .get(format!("{}/api/v1/requests/{id}", serving.staff))
        .bearer_auth(&made.api_key);
    json(&asked.send().await.unwrap().text().await.unwrap())["state"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run tests/run"]
async fn a_portal_that_is_killed_goes_on_with_what_it_had_acknowledged() {
    let (made, url, _place) = made();
    let serving = made.serve();
    let (early, late) = (issue(&made, &serving).await, issue(&made, &serving).await);
    let photo = png(1, 400_000);
    let part = format!("{}/parts/front", link(&late, &serving));
    let begun = tus("POST", &part).header("Upload-Length", photo.len()).send().await.unwrap();
    assert_eq!(begun.status(), 201, "{}", begun.text().await.unwrap());
    let patch = |address: &str, offset: usize, bytes: &[u8]| {
        let patch = tus("PATCH", address).header("Upload-Offset", offset);
        patch
            .header("Content-Type", "application/offset+octet-stream")
            .body(bytes.to_vec())
            .send()
    };
    assert_eq!(patch(&part, 0, &photo[..300_000]).await.unwrap().status(), 204);
    let (body, kind) = form(&[("front", &photo)]);
    let answer = http()
        .post(link(&early, &serving))
        .header("content-type", kind)
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    serving.process.signal("-KILL");
    serving.process.end();

    let mut serving = made.serve();
    let part = format!("{}/parts/front", link(&late, &serving));
    let head = tus("HEAD", &part).send().await.unwrap();
    assert_eq!(
        head.headers()["upload-offset"],
        "300000",
        "what was acknowledged is here after the kill"
    );
    assert_eq!(patch(&part, 300_000, &photo[300_000..]).await.unwrap().status(), 204);
    for issued in [&early, &late] {
        let id = issued["id"].as_str().unwrap();
        until("delivered and purged", async || state(&made, &serving, id).await == "purged").await;
    }
    // Changes of a state are logged once they are committed, as with the embedded store.
    let id = late["id"].as_str().unwrap();
    let mut states = Vec::new();
    while states.last().is_none_or(|last| last != "purged") {
        let line = serving.process.json();
        if line["event"] == "state" && line["request"] == id {
            states.push(line["to"].as_str().unwrap().to_owned());
        }
    }
    assert!(states.contains(&"received".to_owned()), "{states:?}");
    serving.stop();
    let name = url.rsplit('/').next().unwrap();
    assert_eq!(server().sql(name, "SELECT count(*) FROM chunk"), "0");
}

#[test]
#[ignore = "needs PostgreSQL: run tests/run"]
fn the_other_commands_know_a_database_or_say_what_does() {
    let (made, url, place) = made();
    let name = url.rsplit('/').next().unwrap();
    let finding = |area: &str| -> Vec<String> {
        let output = made.with_config(&["doctor", "--json"]).output().unwrap();
        let findings = json(&out(&output))["findings"].as_array().unwrap().clone();
        let of = findings.iter().filter(|finding| finding["area"] == area);
        of.map(|finding| {
            format!(
                "{} {} {}",
                finding["level"].as_str().unwrap(),
                finding["text"].as_str().unwrap(),
                finding["fix"]
            )
        })
        .collect()
    };
    let found = finding("database");
    assert!(
        found[0].starts_with("good 127.0.0.1:") && found[0].contains("PostgreSQL 1"),
        "{found:?}"
    );
    assert!(found[1].contains("no portal runs on it"), "{found:?}");
    assert!(finding("store").is_empty() && finding("data").is_empty());
    done(&mut made.with_config(&["key", "rotate"]));
    let audit = "SELECT count(*) FROM audit WHERE position('key.rotated'::bytea IN row) > 0";
    assert_eq!(server().sql(name, audit), "1");

    let serving = made.serve();
    assert!(finding("database").iter().any(|found| found.contains("a running portal holds it")));
    let sentence = fails_with(74, &mut made.with_config(&["serve"]));
    assert!(sentence.contains("another nightdrop holds this database"), "{sentence}");
    private(&place.path().join("pass"), "a passphrase for a backup\n");
    let pass = place.path().join("pass").display().to_string();
    let target = place.path().join("backup").display().to_string();
    let sentence = fails(&mut made.asking(&serving, &["backup", "--passphrase-file", &pass, &target]));
    assert!(sentence.contains("PostgreSQL"), "{sentence}");
    serving.stop();
    let sentence = fails(&mut made.with_config(&["backup", "--passphrase-file", &pass, &target]));
    assert!(sentence.contains("docs/operations/postgresql.md"), "{sentence}");
    let sentence = fails(&mut made.with_config(&["compact"]));
    assert!(sentence.contains("autovacuum"), "{sentence}");
    let sentence = fails_with(78, &mut made.with_config(&["recover", "--yes"]));
    assert!(sentence.contains("PostgreSQL"), "{sentence}");

    server().sql("postgres", &format!("ALTER DATABASE {name} SET synchronous_commit = off"));
    let found = finding("database");
    assert!(
        found[0].starts_with("wrong") && found[0].contains("synchronous_commit is off") && found[0].contains("ALTER DATABASE"),
        "{found:?}"
    );
    let sentence = fails(&mut made.with_config(&["serve"]));
    assert!(
        sentence.contains("synchronous_commit is off") && !sentence.contains("test@"),
        "{sentence}"
    );
}

#[test]
#[ignore = "needs PostgreSQL: run tests/run"]
fn an_init_that_was_cut_off_leaves_a_database_that_the_next_one_takes() {
    let place = Folder::new();
    let (file, url) = address(&place);
    let name = url.rsplit('/').next().unwrap();
    let made = Made::new(&["--database-url-file", &file]);
    let second = Folder::new();
    let again = ["--database-url-file", file.as_str()];
    let sentence = fails(&mut init(&second, &again));
    assert!(sentence.contains("holds a portal already"), "{sentence}");
    assert!(!second.path().join("data").exists(), "and nothing was made");
    // As one that was killed leaves it.
    server().sql(name, "UPDATE meta SET value = 'unfinished' WHERE name = 'init'");
    done(&mut init(&second, &again));
    assert_eq!(server().sql(name, "SELECT count(*) FROM agent"), "1");
    let sentence = fails(&mut made.with_config(&["serve"]));
    assert!(sentence.contains("belongs to another portal"), "{sentence}");
}

/// The commands of the page's first block, in an empty folder.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run tests/run"]
async fn the_commands_of_the_page_lead_from_nothing_to_a_portal() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations/postgresql.md")).unwrap();
    let block = page.split("## From nothing\n\n").nth(1).unwrap();
    let commands: Vec<&str> = block.lines().map_while(|line| line.strip_prefix("    ")).collect();
    assert_eq!(commands.len(), 4, "{commands:?}");
    let folder = Folder::new();
    private(&folder.path().join("pw"), "harbour lantern copper violet\n");
    let names = |text: &str| {
        text.replace(
            "nightdrop:CHANGE-ME@localhost/nightdrop",
            &server()
                .address("page")
                .split_once("://")
                .unwrap()
                .1
                .replace("nightdrop:test", "page:CHANGE-ME"),
        )
    };
    server().sql(
        "postgres",
        &commands[0]
            .split("-c \"")
            .nth(1)
            .unwrap()
            .trim()
            .trim_end_matches('"')
            .replace("nightdrop", "page"),
    );
    server().sql(
        "postgres",
        &commands[0]
            .split("-c \"")
            .nth(2)
            .unwrap()
            .trim()
            .trim_end_matches('"')
            .replace("nightdrop", "page"),
    );
    let shell = |line: &str| {
        let program = Path::new(env!("CARGO_BIN_EXE_nightdrop")).parent().unwrap();
        let mut command = Command::new("sh");
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
        command.args(["-c", line]).current_dir(folder.path()).env("PATH", path);
        command
            .env("NIGHTDROP_ACCEPT_VOLATILE_DATA", "true")
            .env("NIGHTDROP_ACCEPT_READABLE_SWAP", "true");
        command
    };
    let run = |line: &str| {
        let output = shell(line).output().unwrap();
        assert!(output.status.success(), "{line}\n{}{}", out(&output), complaint(&output));
    };
    run(&names(commands[1]));
    run(&format!(
        "{} --yes --accept-weak-erasure --erasure-slots 64 --listen-public 127.0.0.1:0 --listen-staff 127.0.0.1:0 --admin-email a@b.example --admin-password-file pw",
        commands[2]
    ));
    let mut process = Process::start(&mut shell(&format!("exec {} --log json", commands[3])));
    let first = process.json();
    assert_eq!(first["event"], "listening", "{first}");
    let ready = http()
        .get(format!("{}/readyz", first["public"].as_str().unwrap()))
        .send()
        .await
        .unwrap();
    assert_eq!(ready.status(), 200);
    process.signal("-TERM");
    process.end();
    // What the page shows of the configuration is what a configuration takes.
    let table = page
        .split("    [database]\n")
        .nth(1)
        .unwrap()
        .lines()
        .map_while(|line| line.strip_prefix("    "));
    let table: Vec<&str> = table.filter(|line| !line.starts_with("ca_file")).collect();
    let text = format!("public_url = \"https://drop.example.com\"\n[database]\n{}", table.join("\n"));
    Config::parse(&text, folder.path(), std::iter::empty()).unwrap();
}
