//! What the metrics tell of a portal at work, what they never tell, and that alert rules, dashboard and documentation fit them.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use time::Duration;

use crate::support::{Folder, TestApp, TestOptions, ask, png, private};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

async fn metrics(app: &TestApp) -> String {
    let answer = app.http.get(app.staff("/metrics")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.text().await.unwrap()
}

/// The value of one line; `None` where there is no such line.
fn value(metrics: &str, line: &str) -> Option<f64> {
    let found = metrics.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
    found.map(|value| value.parse().unwrap())
}

#[tokio::test]
async fn ages_attempts_and_requests_of_a_portal_at_work_are_told() {
    let (options, clock) = TestOptions::default().with_clock();
    let app = TestApp::with_options(options).await;
    let calm = metrics(&app).await;
    for quiet in [
        "nightdrop_oldest_undelivered_seconds",
        "nightdrop_oldest_attention_seconds",
        "nightdrop_erasure_slots_used",
    ] {
        assert_eq!(value(&calm, quiet), Some(0.0), "{quiet}");
    }
    let link = app.link_for("passport", None).await;
    assert_eq!(app.drop_files(&link, &[("front", &png(1, 20_000))]).await.status(), 200);
    clock.forward(Duration::hours(1));
    let waiting = metrics(&app).await;
    let age = value(&waiting, "nightdrop_oldest_undelivered_seconds").unwrap();
    assert!((3_600.0..3_700.0).contains(&age), "{age}");
    assert_eq!(value(&waiting, "nightdrop_erasure_slots_used"), Some(1.0));
    // Refused for good: a person has to look.
    app.misbehave(&["400"]).await;
    app.work().await;
    clock.forward(Duration::hours(2));
    let stuck = metrics(&app).await;
    let attention = value(&stuck, "nightdrop_oldest_attention_seconds").unwrap();
    assert!((7_200.0..7_300.0).contains(&attention), "{attention}\n{stuck}");
    let age = value(&stuck, "nightdrop_oldest_undelivered_seconds").unwrap();
    assert!(
        (10_800.0..10_900.0).contains(&age),
        "{age}: what needs attention is undelivered, too"
    );
    assert!(
        stuck.contains("nightdrop_delivery_attempts_total{provider=\"sandbox\",code=\"provider."),
        "{stuck}"
    );
    let other = app.link_for("passport", None).await;
    app.drop_files(&other, &[("front", &png(2, 20_000))]).await;
    app.work().await;
    let after = metrics(&app).await;
    assert_eq!(
        value(&after, "nightdrop_delivery_attempts_total{provider=\"sandbox\",code=\"ok\"}"),
        Some(1.0),
        "{after}"
    );
    let route = "nightdrop_http_requests_total{listener=\"public\",route=\"/d/{token}\",class=\"2xx\"}";
    assert_eq!(value(&after, route), Some(2.0), "{after}");
    let count = "nightdrop_http_request_duration_seconds_count{listener=\"public\",route=\"/d/{token}\"}";
    assert_eq!(value(&after, count), Some(2.0));
    let endless = "nightdrop_http_request_duration_seconds_bucket{listener=\"public\",route=\"/d/{token}\",le=\"+Inf\"}";
    assert_eq!(value(&after, endless), Some(2.0));
    assert!(value(&after, "nightdrop_disk_free_bytes{folder=\"data\"}").unwrap() > 0.0);
    assert!(value(&after, "nightdrop_store_bytes{folder=\"records\"}").unwrap() > 0.0);
    assert!(value(&after, "process_resident_memory_bytes").unwrap() > 1e6);
}

#[tokio::test]
async fn nothing_from_outside_becomes_a_label() {
    let app = TestApp::new().await;
    let link = app.issue(ask("maria-musterfrau-4711", "passport")).await;
    app.http.get(app.public(&link.path)).send().await.unwrap();
    app.drop_files(&link, &[("front\"} 1\nevil{x=\"", b"no picture")]).await;
    for path in ["/musterfrau", "/d/musterfrau%22%7D%0A", "/d/x/y/z/musterfrau", "/hooks/musterfrau"] {
        app.http.get(app.public(path)).send().await.unwrap();
        app.http.get(app.staff(path)).send().await.unwrap();
    }
    app.http
        .get(app.staff("/api/v1/requests"))
        .bearer_auth("ndk_musterfrau")
        .send()
        .await
        .unwrap();
    let text = metrics(&app).await;
    for private in ["musterfrau", "evil", &link.token, &link.id.to_string()] {
        assert!(!text.contains(private), "{private}\n{text}");
    }
    assert!(text.contains("route=\"none\",class=\"4xx\""), "{text}");
    assert_eq!(
        value(&text, "nightdrop_access_refused_total{what=\"api_key.refused\"}"),
        Some(1.0),
        "{text}"
    );
}

#[tokio::test]
async fn with_a_token_the_metrics_are_for_whoever_has_it() {
    let token = Folder::new();
    let file = token.path().join("token");
    private(&file, "0123456789-abcdef\n");
    let app = TestApp::with_options(TestOptions {
        more: format!("[metrics]\ntoken_file = \"{}\"\n", file.display()),
        ..TestOptions::default()
    })
    .await;
    let ask = || app.http.get(app.staff("/metrics"));
    for (answer, status) in [
        (ask().send().await, 401),
        (ask().bearer_auth("0123456789-abcdeg").send().await, 401),
        (ask().bearer_auth("").send().await, 401),
        (ask().bearer_auth(&app.api_key).send().await, 401),
        (ask().bearer_auth("0123456789-abcdef").send().await, 200),
    ] {
        let answer = answer.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.text().await.unwrap().contains("nightdrop_"), status == 200);
    }
    assert_eq!(app.http.get(app.staff("/healthz")).send().await.unwrap().status(), 200);
}

/// All names of metrics in a text; those of a histogram's lines are its own.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
    let names = words.filter(|word| {
        ["nightdrop_", "process_"]
            .iter()
            .any(|of| word.starts_with(of) && word.len() > of.len())
    });
    names.map(|word| word.strip_suffix("_bucket").unwrap_or(word).to_owned()).collect()
}

#[tokio::test]
async fn alerts_dashboard_and_documentation_name_metrics_that_there_are() {
    let app = TestApp::new().await;
    let shown: BTreeSet<String> = metrics(&app)
        .await
        .lines()
        .filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split_once(' ')?.0.to_owned()))
        .collect();
    let read = |path: &str| names(&std::fs::read_to_string(format!("{ROOT}/{path}")).unwrap());
    for path in ["examples/monitoring/alerts.yaml", "examples/monitoring/dashboard.json"] {
        let named = read(path);
        assert!(named.len() > 15, "{path}");
        let missing: Vec<_> = named.difference(&shown).collect();
        assert!(missing.is_empty(), "{path} names {missing:?}");
    }
    assert_eq!(read("docs/operations/monitoring.md"), shown, "the table of metrics");
    let dashboard = std::fs::read_to_string(format!("{ROOT}/examples/monitoring/dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.iter().all(|panel| panel["targets"][0]["expr"].is_string()));
}

/// Runs promtool with an input; what it says and whether it was content.
fn promtool(arguments: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test]
#[ignore = "needs promtool: run tests/run"]
async fn promtool_finds_nothing_wrong_in_the_metrics() {
    let app = TestApp::new().await;
    let link = app.link_for("passport", None).await;
    app.drop_files(&link, &[("front", &png(1, 20_000))]).await;
    app.work().await;
    let text = metrics(&app).await;
    assert_eq!(promtool(&["check", "metrics"], &text), (true, String::new()), "{text}");
    assert!(!promtool(&["check", "metrics"], &text.replace("_total", "_toll")).0, "it looks");
}

#[test]
#[ignore = "needs promtool: run tests/run"]
fn every_alert_fires_when_it_should_and_none_when_all_is_well() {
    let folder = Folder::new();
    let copy = |from: &str, to: &str| std::fs::copy(format!("{ROOT}/{from}"), folder.path().join(to)).unwrap();
    copy("examples/monitoring/alerts.yaml", "alerts.yaml");
    copy("tests/fixtures/alerts.test.yaml", "test.yaml");
    let test = folder.path().join("test.yaml");
    let (content, said) = promtool(&["test", "rules", test.to_str().unwrap()], "");
    assert!(content, "{said}");
    // All of them together are counted there.
    let rules = std::fs::read_to_string(folder.path().join("alerts.yaml")).unwrap();
    let played = std::fs::read_to_string(&test).unwrap();
    let all = rules.matches("- alert:").count();
    assert!(played.contains(&format!("value: {all}}}")), "{all} rules");
    std::fs::write(folder.path().join("alerts.yaml"), rules.replace("== 0\n", "== 7\n")).unwrap();
    assert!(!promtool(&["test", "rules", test.to_str().unwrap()], "").0, "it looks");
}
