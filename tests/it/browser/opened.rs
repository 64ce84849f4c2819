//! That a link was opened, as real browsers say it: by a tap, a key or the wheel, and never by running the page alone.

use serde_json::json;

use super::script;
use crate::support::TestApp;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium, playwright-core and axe-core: run tests/run"]
async fn a_link_is_opened_when_somebody_acts_on_its_page() {
    let app = TestApp::new().await;
    let fetched = app.link().await;
    let acted = [app.link().await, app.link().await, app.link().await];
    let [touched, keyed, wheeled] = [0, 1, 2].map(|n: usize| app.public(&acted[n].path));
    let given = json!({
        "fetched": app.public(&fetched.path),
        "touched": touched,
        "keyed": keyed,
        "wheeled": wheeled,
    });
    tokio::task::spawn_blocking(move || script("opened.mjs", &given)).await.unwrap();
    assert_eq!(app.request(&fetched).await.link.opened_at, None);
    for link in &acted {
        assert!(app.request(link).await.link.opened_at.is_some());
        let lines = app.log(link).await;
        assert_eq!(lines.iter().filter(|line| *line == "link.opened").count(), 1, "{lines:?}");
    }
}
