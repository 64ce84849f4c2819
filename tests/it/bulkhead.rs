//! One provider's trouble, and one applicant's, stay their own: documents that have nothing to do with it leave at once.

use std::sync::Arc;
use std::time::Duration as StdDuration;

use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::domain::request::RequestState;
use nightdrop::testing::workflow::issue;
use serde_json::json;
use time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::providers::server::{Reply, Request, read};
use crate::support::{Link, TestApp, TestOptions, say, until};

/// What a provider has been asked so far.
#[derive(Clone, Default)]
struct Seen {
    /// Applicants of the uploads, in the order in which they came.
    uploads: Vec<String>,
    open: usize,
    most_open: usize,
}

/// A provider that speaks the sandbox's API. What it makes of an upload follows from the beginning of the applicant's reference.
struct Provider {
    url: String,
    seen: watch::Sender<Seen>,
    answers: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Provider {
    /// Without `answers` every upload hangs until [`Provider::answer`].
    async fn start(answers: bool) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (seen, _) = watch::channel(Seen::default());
        let (answers, _) = watch::channel(answers);
        let (books, gate) = (seen.clone(), answers.clone());
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, books.clone(), gate.subscribe()));
            }
        });
        Arc::new(Self { url, seen, answers, task })
    }

    /// From now on, and to those who wait already.
    fn answer(&self) {
        self.answers.send_replace(true);
    }

    fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until this many uploads are open at once.
    async fn opened(&self, uploads: usize) {
        let mut seen = self.seen.subscribe();
        let opened = seen.wait_for(|seen| seen.open >= uploads);
        tokio::time::timeout(StdDuration::from_secs(90), opened).await.unwrap().unwrap();
    }

    fn table(&self, name: &str, more: &str) -> String {
        format!(
            "[providers.{name}]\nkind = \"sandbox\"\nbase_url = \"{}\"\napi_key_file = \"sandbox-key\"\n{more}\n",
            self.url
        )
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut socket: TcpStream, seen: watch::Sender<Seen>, mut answers: watch::Receiver<bool>) {
    let Some(request) = read(&mut socket).await else { return };
    let uploads = request.method == "POST";
    if uploads {
        let applicant = request.path.split('/').nth(3).unwrap_or_default().to_owned();
        seen.send_modify(|seen| {
            seen.uploads.push(applicant);
            seen.open += 1;
            seen.most_open = seen.most_open.max(seen.open);
        });
    }
    let _ = answers.wait_for(|answers| *answers).await;
    // Before the answer: whoever has read it may send the next one at once.
    if uploads {
        seen.send_modify(|seen| seen.open -= 1);
    }
    let reply = reply(&request);
    let mut head = format!(
        "HTTP/1.1 {} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n",
        reply.status,
        reply.body.len()
    );
    reply.headers.iter().for_each(|(n, v)| head.push_str(&format!("{n}: {v}\r\n")));
    let _ = socket.write_all(format!("{head}\r\n").as_bytes()).await;
    let _ = socket.write_all(&reply.body).await;
}

fn reply(request: &Request) -> Reply {
    if request.method == "GET" {
        return Reply::json(200, json!({"documents": []}));
    }
    let applicant = request.path.split('/').nth(3).unwrap_or_default();
    match applicant.split('-').next().unwrap_or_default() {
        "refused" => Reply::json(400, json!({})),
        "failing" => Reply::json(500, json!({})),
        "busy" => Reply::json(409, json!({"code": "in_progress"})),
        _ => Reply::json(200, json!({"id": applicant, "status": "accepted", "files": file_names(request)})),
    }
}

/// The names of the files in a form: the receipt names what was sent.
fn file_names(request: &Request) -> Vec<String> {
    let body = String::from_utf8_lossy(&request.body);
    let names = body.split("filename=\"").skip(1);
    names.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
}

async fn dropped(app: &TestApp, provider: &str, applicant: &str) -> Link {
    let link = app.link_at(provider, applicant).await;
    app.drop_front(&link, 1).await;
    link
}

#[tokio::test]
async fn bad_references_at_a_provider_do_not_hold_up_good_documents_there() {
    let provider = Provider::start(true).await;
    let options = TestOptions {
        more: provider.table("kyc", ""),
        ..TestOptions::default()
    };
    let (options, clock) = options.with_clock();
    let app = TestApp::with_options(options).await;
    for bad in [
        "refused-1",
        "refused-2",
        "refused-3",
        "failing-1",
        "failing-2",
        "busy-1",
        "busy-2",
        "busy-3",
        "busy-4",
        "busy-5",
    ] {
        dropped(&app, "kyc", bad).await;
    }
    for _ in 0..6 {
        app.work_until(&clock, Duration::minutes(2), async |_| false).await;
        let tries = |seen: &Seen, kind: &str| seen.uploads.iter().filter(|a| a.starts_with(kind)).count();
        let good = dropped(&app, "kyc", "good").await;
        app.work_due().await;
        let seen = provider.seen();
        assert_eq!(app.state(&good).await, RequestState::Purged, "{:?}", seen.uploads);
        assert_eq!(tries(&seen, "refused"), 3, "for good");
        assert!(tries(&seen, "failing") >= 5 && tries(&seen, "busy") >= 10, "{:?}", seen.uploads);
    }
}

/// A portal whose worker runs, with one provider that answers nobody and one that answers at once.
async fn beside(hangs: &Provider, works: &Provider, more: &str, retention: &str) -> TestApp {
    let options = TestOptions {
        more: format!("{retention}\n{}{}", hangs.table("hangs", more), works.table("works", "")),
        worker: true,
        ..TestOptions::default()
    };
    TestApp::with_options(options).await
}

async fn purged(app: &TestApp, link: &Link) {
    until("it is purged", async || app.state(link).await == RequestState::Purged).await;
}

#[tokio::test]
async fn a_provider_that_hangs_keeps_only_its_own_documents_waiting() {
    let (hangs, works) = (Provider::start(false).await, Provider::start(true).await);
    let app = beside(&hangs, &works, "", "").await;
    let mut waiting = Vec::new();
    for n in 0..40 {
        waiting.push(dropped(&app, "hangs", &format!("waiting-{n}")).await);
    }
    hangs.opened(8).await;
    let mut slowest = StdDuration::ZERO;
    for n in 0..20 {
        let link = app.link_at("works", &format!("good-{n}")).await;
        let from = std::time::Instant::now();
        app.drop_front(&link, 1).await;
        purged(&app, &link).await;
        slowest = slowest.max(from.elapsed());
    }
    say(&format!(
        "the slowest document beside a provider that hangs: {} ms",
        slowest.as_millis()
    ));
    assert!(slowest < StdDuration::from_secs(2), "{slowest:?}");
    // What needs no provider waits for none, in the queue of the one that hangs too.
    let last = waiting.last().unwrap();
    let from = std::time::Instant::now();
    issue::request_purge(&app.portal, last.id, Actor::Operator).await.unwrap();
    purged(&app, last).await;
    assert!(from.elapsed() < StdDuration::from_secs(2), "{:?}", from.elapsed());
    let seen = hangs.seen();
    assert_eq!((seen.open, seen.uploads.len()), (8, 8), "the default concurrency");
    hangs.answer();
    for link in &waiting {
        purged(&app, link).await;
    }
    assert_eq!(hangs.seen().uploads.len(), 39);
}

#[tokio::test]
async fn a_deadline_does_not_wait_behind_a_provider() {
    let (hangs, works) = (Provider::start(false).await, Provider::start(true).await);
    let app = beside(&hangs, &works, "concurrency = 2", "[retention]\nundelivered = \"4s\"").await;
    let mut waiting = Vec::new();
    for n in 0..8 {
        waiting.push(dropped(&app, "hangs", &format!("waiting-{n}")).await);
    }
    hangs.opened(2).await;
    let late = async |link: &Link| {
        let request = app.request(link).await;
        request.tombstones.last().is_some_and(|stone| stone.cause.code() == "deadline")
    };
    until("all that are not on their way are purged", async || {
        let mut purged = 0;
        for link in &waiting {
            purged += usize::from(late(link).await);
        }
        purged == 6
    })
    .await;
    assert_eq!(hangs.seen().uploads.len(), 2);
}

#[tokio::test]
async fn a_provider_gets_the_oldest_first_and_no_more_than_its_concurrency_at_once() {
    for concurrency in [1, 3] {
        let (hangs, works) = (Provider::start(false).await, Provider::start(true).await);
        let app = beside(&hangs, &works, &format!("concurrency = {concurrency}"), "").await;
        let mut waiting = Vec::new();
        for n in 0..16 {
            waiting.push(dropped(&app, "hangs", &format!("waiting-{n:02}")).await);
        }
        hangs.opened(concurrency).await;
        purged(&app, &dropped(&app, "works", "good").await).await;
        assert_eq!(hangs.seen().open, concurrency);
        hangs.answer();
        for link in &waiting {
            purged(&app, link).await;
        }
        let mut seen = hangs.seen();
        assert_eq!(seen.most_open, concurrency);
        if concurrency > 1 {
            // Those that are on their way together may overtake one another on the wire.
            seen.uploads[..concurrency].sort();
            seen.uploads.truncate(concurrency);
        }
        assert!(seen.uploads.is_sorted() && seen.uploads[0] == "waiting-00", "{:?}", seen.uploads);
    }
}
