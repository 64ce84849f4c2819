//! The code that is told by telephone, against somebody who has only the link.

use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::domain::audit::AuditAction;
use nightdrop::testing::domain::request::RequestState;
use nightdrop::testing::http::body::BodyPace;
use nightdrop::testing::workflow::issue;
use time::Duration;

use crate::raw::{Answer, Half, Raw, assert_nothing_held, end, file, head};
use crate::support::{Link, TestApp, TestOptions, ask, form, png};

async fn guarded(app: &TestApp) -> Link {
    let mut ask = ask("applicant-1", "passport");
    ask.passcode = true;
    app.issue(ask).await
}

/// Another code than this one.
fn wrong(code: &str, number: u32) -> String {
    format!("{:06}", (code.parse::<u32>().unwrap() + 1 + number) % 1_000_000)
}

/// The status of one try, and the session's cookie if there is one.
async fn enter(app: &TestApp, link: &Link, code: &str) -> (u16, Option<String>, String) {
    let answer = app
        .http
        .post(app.public(&format!("{}/passcode", link.path)))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("passcode={code}"))
        .send()
        .await
        .unwrap();
    let cookie = answer
        .headers()
        .get("set-cookie")
        .map(|c| c.to_str().unwrap().split(';').next().unwrap().to_owned());
    (answer.status().as_u16(), cookie, answer.text().await.unwrap())
}

async fn drop_with(app: &TestApp, link: &Link, cookie: Option<&str>) -> (u16, String) {
    let (body, kind) = form(&[("front", &png(1, 80_000))]);
    let mut post = app.http.post(app.public(&link.path)).header("content-type", kind).body(body);
    if let Some(cookie) = cookie {
        post = post.header("cookie", cookie);
    }
    let answer = post.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn page(app: &TestApp, link: &Link, cookie: Option<&str>) -> (u16, String) {
    let mut get = app.http.get(app.public(&link.path));
    if let Some(cookie) = cookie {
        get = get.header("cookie", cookie);
    }
    let answer = get.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn tries_left(app: &TestApp, link: &Link) -> u8 {
    app.request(link).await.link.passcode.unwrap().tries_left
}

#[tokio::test]
async fn the_right_code_opens_and_a_wrong_one_costs_a_try_and_no_upload() {
    let app = TestApp::new().await;
    let link = guarded(&app).await;
    let code = link.passcode.clone().unwrap();
    let (status, text) = page(&app, &link, None).await;
    assert_eq!(status, 200);
    assert!(text.contains("Enter your code") && !text.contains("type=\"file\""), "{text}");
    // A document without the code is not read, and costs no try.
    let (status, text) = drop_with(&app, &link, None).await;
    assert_eq!(status, 403);
    assert!(text.contains("Enter your code"), "{text}");
    assert_nothing_held(&app, "without a code").await;
    assert_eq!(tries_left(&app, &link).await, 5);
    let (status, cookie, text) = enter(&app, &link, &wrong(&code, 0)).await;
    assert_eq!((status, cookie), (403, None));
    assert!(text.contains("id=\"code-error\"") && text.contains("4 tries"), "{text}");
    let spaced = format!("{}+{}", &code[..3], &code[3..]);
    let (status, cookie, _) = enter(&app, &link, &spaced).await;
    assert_eq!(status, 303);
    let cookie = cookie.unwrap();
    let (status, text) = page(&app, &link, Some(&cookie)).await;
    assert!(status == 200 && text.contains("type=\"file\""), "{text}");
    assert_eq!(tries_left(&app, &link).await, 3, "a right code gives no try back");
    assert_eq!(drop_with(&app, &link, Some(&cookie)).await.0, 200);
    assert_eq!(app.state(&link).await, RequestState::Received);
}

#[tokio::test]
async fn five_wrong_codes_lock_everybody_out_but_who_was_in() {
    let app = TestApp::new().await;
    let link = guarded(&app).await;
    let code = link.passcode.clone().unwrap();
    let (_, session, _) = enter(&app, &link, &code).await;
    let session = session.unwrap();
    let body = [file("front", &png(1, 300_000)), end()].concat();
    for number in 0..4 {
        assert_eq!(
            enter(&app, &link, &wrong(&code, number)).await.0,
            if number == 3 { 423 } else { 403 }
        );
    }
    assert_eq!(tries_left(&app, &link).await, 0);
    // Locked, also for the right code and for whoever comes with the link alone.
    assert_eq!(enter(&app, &link, &code).await.0, 423);
    assert_eq!(page(&app, &link, None).await.0, 423);
    assert_eq!(drop_with(&app, &link, None).await.0, 423);
    // The session of before goes on, in the form and in an upload.
    let (status, text) = page(&app, &link, Some(&session)).await;
    assert!(status == 200 && text.contains("type=\"file\""), "{text}");
    let mut raw = Raw::to(&app).await;
    raw.send(
        [
            head(&link.path, body.len(), &format!("Cookie: {session}\r\n")).as_bytes(),
            &body[..200_000],
        ]
        .concat(),
    )
    .await;
    crate::support::until("it runs", async || !app.portal.blobs.documents().await.unwrap().is_empty()).await;
    // A fresh code opens again; the session of the old one ends, an upload that runs does not.
    let (_, fresh) = issue::fresh_passcode(&app.portal, link.id, Actor::Operator).await.unwrap();
    assert_eq!(tries_left(&app, &link).await, 5);
    assert!(!page(&app, &link, Some(&session)).await.1.contains("type=\"file\""));
    if fresh != code {
        assert_eq!(enter(&app, &link, &code).await.0, 403);
    }
    let (status, cookie, _) = enter(&app, &link, &fresh).await;
    assert_eq!(status, 303);
    assert!(page(&app, &link, cookie.as_deref()).await.1.contains("type=\"file\""));
    let half = Half {
        raw,
        rest: body[200_000..].to_vec(),
    };
    assert_eq!(half.finish().await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_guesses_at_once_are_five_at_most() {
    let app = TestApp::new().await;
    let link = guarded(&app).await;
    let code = link.passcode.clone().unwrap();
    let guesses: Vec<String> = (0..64).map(|n| wrong(&code, n)).collect();
    let answers = futures_util::future::join_all(guesses.iter().map(|guess| enter(&app, &link, guess))).await;
    let evaluated = answers.iter().filter(|a| a.0 == 403).count();
    assert!(
        answers.iter().all(|a| matches!(a.0, 403 | 423 | 503)),
        "{:?}",
        answers.iter().map(|a| a.0).collect::<Vec<_>>()
    );
    assert!(evaluated <= 5, "{evaluated}");
    let tried = app.portal.audit.timeline(link.id).await.unwrap();
    let tried = tried.iter().filter(|e| e.event.action == AuditAction::LinkPasscodeTried).count();
    assert!((1..=5).contains(&tried), "{tried}");
    assert_eq!(usize::from(tries_left(&app, &link).await), 5 - tried);
    assert!(answers.iter().all(|a| a.1.is_none()), "nobody is in");
}

#[tokio::test]
async fn spent_tries_stay_spent() {
    let mut app = TestApp::new().await;
    let link = guarded(&app).await;
    let code = link.passcode.clone().unwrap();
    for number in 0..3u8 {
        assert_eq!(enter(&app, &link, &wrong(&code, number.into())).await.0, 403);
        // As after `kill -9` at this instant.
        let (crashed, _folder) = app.crash_copy().await;
        let request = crashed.portal.requests.request(link.id).await.unwrap().unwrap();
        assert_eq!(request.link.passcode.unwrap().tries_left, 4 - number);
    }
    app.restart().await;
    assert_eq!(tries_left(&app, &link).await, 2);
    assert_eq!(enter(&app, &link, &wrong(&code, 4)).await.0, 403);
    assert_eq!(enter(&app, &link, &wrong(&code, 5)).await.0, 423);
    app.restart().await;
    assert_eq!(enter(&app, &link, &code).await.0, 423);
}

#[tokio::test]
async fn a_session_is_good_for_its_link_its_code_and_half_an_hour() {
    let (options, clock) = TestOptions::default().with_clock();
    let app = TestApp::with_options(options).await;
    let (link, other) = (guarded(&app).await, guarded(&app).await);
    let (_, session, _) = enter(&app, &link, link.passcode.as_ref().unwrap()).await;
    let session = session.unwrap();
    assert_eq!(drop_with(&app, &other, Some(&session)).await.0, 403, "another link");
    let (name, value) = session.split_once('=').unwrap();
    let (until, mac) = value.split_once('.').unwrap();
    let later = until.parse::<i64>().unwrap() + 3_600;
    let first = if mac.as_bytes()[0] == b'0' { "1" } else { "0" };
    let flipped = format!("{first}{}", &mac[1..]);
    for forged in [
        format!("{later}.{mac}"),
        format!("{until}.{flipped}"),
        format!("{until}."),
        until.to_owned(),
        String::new(),
        format!("-1.{mac}"),
    ] {
        assert_eq!(drop_with(&app, &link, Some(&format!("{name}={forged}"))).await.0, 403, "{forged}");
    }
    clock.forward(Duration::minutes(29));
    assert!(page(&app, &link, Some(&session)).await.1.contains("type=\"file\""));
    clock.forward(Duration::minutes(2));
    assert_eq!(drop_with(&app, &link, Some(&session)).await.0, 403, "half an hour is over");
    assert_nothing_held(&app, "no session").await;
}

async fn posted(app: &TestApp, link: &Link, headers: &str, body: &str) -> Answer {
    let mut raw = Raw::to(app).await;
    let head = format!(
        "POST {}/passcode HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{headers}\r\n",
        link.path,
        body.len()
    );
    raw.send(format!("{head}{body}")).await;
    raw.answer().await
}

#[tokio::test]
async fn strange_forms_cost_no_try() {
    let app = TestApp::with_options(TestOptions {
        pace: BodyPace {
            idle: std::time::Duration::from_secs(3),
            ..BodyPace::default()
        },
        ..TestOptions::default()
    })
    .await;
    let link = guarded(&app).await;
    let urlencoded = "Content-Type: application/x-www-form-urlencoded\r\n";
    let long = "9".repeat(100_000);
    for (headers, body) in [
        (urlencoded, ""),
        (urlencoded, "code=123456"),
        (urlencoded, "passcode=12345"),
        (urlencoded, "passcode=abcdef"),
        (urlencoded, long.as_str()),
        ("Content-Type: application/json\r\n", "{\"passcode\":\"123456\"}"),
        ("", "passcode=123456"),
        (
            "Content-Type: application/x-www-form-urlencoded\r\nContent-Encoding: br\r\n",
            "passcode=123456",
        ),
    ] {
        let answer = posted(&app, &link, headers, body).await;
        assert!((400..500).contains(&answer.status), "{headers}: {}", answer.status);
        assert!(answer.body.contains("<h1>"), "a page in words: {}", answer.body);
    }
    let cross = posted(
        &app,
        &link,
        &format!("{urlencoded}Sec-Fetch-Site: cross-site\r\n"),
        "passcode=123456",
    )
    .await;
    assert_eq!(cross.status, 403);
    // Announced and never sent.
    let mut raw = Raw::to(&app).await;
    raw.send(format!(
        "POST {}/passcode HTTP/1.1\r\nHost: localhost\r\nContent-Length: 15\r\n{urlencoded}\r\npass",
        link.path
    ))
    .await;
    assert_eq!(raw.answer().await.status, 408);
    assert_eq!(tries_left(&app, &link).await, 5);
}

/// Forty applicants with the right code at the same moment: nobody is turned away but those for whom there is no place to wait, and they lose no try.
#[tokio::test]
async fn codes_wait_for_their_turn_and_a_crowd_beyond_comes_again() {
    use nightdrop::testing::workflow::pool::WAITING;
    let app = TestApp::new().await;
    let mut links = Vec::new();
    for _ in 0..WAITING + 8 {
        links.push(guarded(&app).await);
    }
    let queue = &app.portal.auth.checking;
    let turns = u32::try_from(queue.turns.available_permits()).unwrap();
    let all = queue.turns.clone().acquire_many_owned(turns).await.unwrap();
    let tries = links.iter().map(|link| enter(&app, link, link.passcode.as_ref().unwrap()));
    let busy = std::sync::atomic::AtomicUsize::new(0);
    let tries = futures_util::future::join_all(tries.map(async |given| {
        let given = given.await.0;
        if given == 503 {
            busy.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
        given
    }));
    let opened = async {
        crate::support::until("all places are taken, and eight are told so", async || {
            queue.waiting() == WAITING && busy.load(std::sync::atomic::Ordering::SeqCst) == 8
        })
        .await;
        drop(all);
    };
    let (statuses, ()) = tokio::join!(tries, opened);
    assert_eq!(statuses.iter().filter(|s| **s == 303).count(), WAITING, "{statuses:?}");
    for (link, status) in links.iter().zip(&statuses) {
        let left = tries_left(&app, link).await;
        assert_eq!(left, if *status == 503 { 5 } else { 4 });
    }
}
