//! The first steps of a new portal: told to admins, true to what the portal knows, ticked off where it cannot know, and put away.

use super::*;

const OPEN: &str = "<span class=\"chip busy\">Open</span>";

#[tokio::test]
async fn an_admin_is_told_what_a_new_portal_still_lacks_and_nobody_else() {
    let app = TestApp::new().await;
    let admin = Browser::signed_in(&app, Role::Admin).await;
    let page = admin.page("/").await;
    assert!(page.contains("First steps") && page.contains("0 of 6 done"), "{page}");
    assert!(page.contains("Sandbox only") && page.matches(OPEN).count() == 5, "{page}");
    let agent = Browser::signed_in(&app, Role::Agent).await;
    assert!(!agent.page("/").await.contains("First steps"));
    assert_eq!(agent.post("/first-steps", &[("hide", "yes")]).await.status(), 403);

    // What the portal can see is not to be ticked off, and says so by itself.
    for step in ["backup", "mail", "company", "provider", "nonsense"] {
        assert_eq!(admin.post("/first-steps", &[("done", step)]).await.status(), 303);
    }
    assert!(admin.page("/").await.contains("2 of 6 done"));
    let mut ada = Browser::signed_in(&app, Role::Admin).await;
    super::factor::enrol(&mut ada).await;
    assert!(ada.page("/").await.contains("3 of 6 done"));
}

#[tokio::test]
async fn the_list_goes_when_it_is_done_or_hidden_and_comes_back_when_asked_for() {
    let more = "staff_url = \"https://console.bank.example\"\n[company]\nname = \"Harbour Bank\"\n[mail]\nfrom = \"drop@bank.example\"\nhost = \"127.0.0.1\"\ntls = \"none\"\n";
    let app = TestApp::with_options(TestOptions {
        more: more.to_owned(),
        provider: "[providers.desk]\nkind = \"manual\"\n".to_owned(),
        ..TestOptions::default()
    })
    .await;
    let mut admin = Browser::signed_in(&app, Role::Admin).await;
    assert!(admin.page("/").await.contains("4 of 6 done"));
    admin.post("/first-steps", &[("hide", "yes")]).await;
    assert!(!admin.page("/").await.contains("First steps"));
    assert!(admin.page("/admin").await.contains("Show the first steps"));
    admin.post("/first-steps", &[("show", "yes")]).await;
    assert!(admin.page("/").await.contains("First steps"));
    admin.post("/first-steps", &[("done", "backup")]).await;
    super::factor::enrol(&mut admin).await;
    assert!(!admin.page("/").await.contains("First steps"), "all six are done");
}
