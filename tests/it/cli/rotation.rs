//! Renewing the vault key while documents wait: what is sealed to the old one is opened with it, and it goes when nothing is.

use std::path::Path;

use nightdrop::testing::domain::audit::AuditAction;
use nightdrop::testing::domain::request::RequestState;
use serde_json::Value;

use super::{done, json, nightdrop};
use crate::resume::Part;
use crate::support::{TestApp, png};

async fn rotate(folder: &Path) -> Value {
    let config = folder.join("nightdrop.toml");
    let run = move || {
        json(&done(
            nightdrop(&["key", "rotate", "--json", "--config"]).arg(config.to_str().unwrap()),
        ))
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// Stops the portal, renews its key, and starts it again.
async fn renewed(app: &mut TestApp) -> Value {
    app.stop().await;
    app.let_go().await;
    let said = rotate(app.folder.path()).await;
    app.open_again().await;
    said
}

fn ids(said: &Value, name: &str) -> Vec<String> {
    let all = said[name].as_array().unwrap().iter();
    all.map(|id| id.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_retired_key_is_destroyed_when_nothing_is_sealed_to_it() {
    let mut app = TestApp::new().await;
    std::fs::write(app.folder.path().join("nightdrop.toml"), app.text()).unwrap();
    let key_files = |app: &TestApp| {
        let all = std::fs::read_dir(app.data().join("keys")).unwrap().flatten();
        all.filter(|f| f.path().extension().is_some_and(|e| e == "key")).count()
    };
    // One whole document, and one of which only the first part is there.
    let (whole, half) = (app.link().await, app.link().await);
    let sides = [png(1, 60_000), png(2, 60_000)];
    let files: [(&str, &[u8]); 2] = [("front", &sides[0]), ("back", &sides[1])];
    assert_eq!(app.drop_files(&whole, &files).await.status(), 200);
    assert_eq!(Part::of(&app, &half, "front").send(&sides[0]).await.status(), 204);

    let first = renewed(&mut app).await;
    assert_eq!(ids(&first, "destroyed"), Vec::<String>::new());
    assert_eq!(ids(&first, "kept"), [first["before"].as_str().unwrap()]);
    let keys = nightdrop::testing::workflow::vault::keys(&app.portal).await.unwrap();
    let needs = |id: &Value| keys.iter().find(|k| id == &k.id.to_string()).unwrap().live_documents;
    assert_eq!((needs(&first["before"]), needs(&first["key"])), (2, 0));
    app.work().await;
    assert_eq!(app.state(&whole).await, RequestState::Purged, "what was sealed before is opened");

    // The first part alone keeps the old key; the second one is sealed to the new one.
    let second = renewed(&mut app).await;
    assert_eq!(ids(&second, "kept"), [first["before"].as_str().unwrap()]);
    assert_eq!(
        ids(&second, "destroyed"),
        [first["key"].as_str().unwrap()],
        "nothing was ever sealed to it"
    );
    assert_eq!(key_files(&app), 2);
    assert_eq!(Part::of(&app, &half, "back").send(&sides[1]).await.status(), 204);
    app.work().await;
    assert_eq!(app.state(&half).await, RequestState::Purged, "two parts, two keys");

    let third = renewed(&mut app).await;
    let mut destroyed = ids(&third, "destroyed");
    destroyed.sort();
    let mut expected = [first["before"].as_str().unwrap(), second["key"].as_str().unwrap()];
    expected.sort_unstable();
    assert_eq!(destroyed, expected);
    assert_eq!((ids(&third, "kept").len(), key_files(&app)), (0, 1));
    let (entries, _) = crate::audit::verified(&app.portal).await;
    let told: Vec<&str> = entries
        .iter()
        .filter(|e| e.event.action == AuditAction::VaultKeyDestroyed)
        .map(|e| e.event.detail[0].1.as_str())
        .collect();
    assert_eq!(told.len(), 3);
    assert!(expected.iter().all(|id| told.contains(id)) && told.contains(&first["key"].as_str().unwrap()));
    let link = app.link().await;
    assert_eq!(app.drop_files(&link, &files).await.status(), 200);
    app.work().await;
    assert_eq!(app.state(&link).await, RequestState::Purged, "the portal goes on");
}
