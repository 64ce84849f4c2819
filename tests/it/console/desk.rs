//! What colleagues tell one another about a request, by the screens.

use super::*;

#[tokio::test]
async fn a_note_is_added_once_and_shows_its_author() {
    let app = TestApp::new().await;
    let agent = Browser::signed_in(&app, Role::Agent).await;
    let page = format!("/requests/{}", issued(&app).await.id);
    let notes = format!("{page}/notes");
    let first = agent.page(&page).await;
    let once = between(&first, "name=\"once\" value=\"", "\"");
    for payload in PAYLOADS {
        for _ in 0..2 {
            let answer = agent.send_form(&notes, &[("text", payload), ("once", once)]).await;
            assert_eq!(answer.headers()["location"], format!("{page}?done=noted").as_str());
        }
    }
    let shown = agent.page(&format!("{page}?done=noted")).await;
    assert!(shown.contains("The note was added."));
    assert_eq!(shown.matches("<blockquote>").count(), PAYLOADS.len(), "each once");
    assert!(PAYLOADS.iter().all(|p| !p.contains('<') || !shown.contains(p)));
    let list = between(&shown, "<ol class=\"notes\">", "</ol>");
    assert_eq!(list.matches("<strong>agent</strong>").count(), PAYLOADS.len());
    let (status, text) = agent.send(&page, &notes, &[("text", "  ")]).await;
    assert!(status == 422 && text.contains("1 to 1000 characters"), "{status}");
}

#[tokio::test]
async fn the_applicants_page_says_nothing_of_a_note() {
    let app = TestApp::new().await;
    let agent = Browser::signed_in(&app, Role::Agent).await;
    let link = issued(&app).await;
    let page = format!("/requests/{}", link.id);
    let (status, _) = agent
        .send(&page, &format!("{page}/notes"), &[("text", "suspicious-customer")])
        .await;
    assert_eq!(status, 303);
    assert!(agent.page(&page).await.contains("suspicious-customer"));
    let theirs = app.http.get(app.public(&link.path)).send().await.unwrap();
    assert_eq!(theirs.status(), 200);
    assert!(!theirs.text().await.unwrap().contains("suspicious-customer"));
}
