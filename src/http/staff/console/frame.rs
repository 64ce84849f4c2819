//! The frame of the console's pages: bar, navigation, main.

use actix_web::HttpResponse;
use maud::{DOCTYPE, Markup, html};

use crate::domain::agent::Agent;
use crate::http::assets::{CONSOLE_CSS_URL, CONSOLE_JS_URL, LOGO_URL};
use crate::http::error::Problem;
use crate::http::request_id;
use crate::http::staff::permission::{Admin, Audit, Read, Requests, may};

/// Where in the console a page stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Start,
    Requests,
    New,
    Missing,
    Audit,
    Admin,
    Account,
    Docs,
}

const PLACES: [(Place, &str, &str); 6] = [
    (Place::Start, "/", "Overview"),
    (Place::Requests, "/requests", "Requests"),
    (Place::New, "/requests/new", "New request"),
    (Place::Missing, "/missing", "Missing"),
    (Place::Audit, "/audit", "Audit"),
    (Place::Admin, "/admin", "Admin"),
];

fn visible(place: Place, agent: &Agent) -> bool {
    match place {
        Place::Start | Place::Requests => may::<Read>(agent.role),
        Place::New | Place::Missing => may::<Requests>(agent.role),
        Place::Audit => may::<Audit>(agent.role),
        Place::Admin => may::<Admin>(agent.role),
        Place::Account | Place::Docs => true,
    }
}

/// A page for somebody who is signed in.
pub(crate) fn page(agent: &Agent, place: Place, title: &str, body: Markup) -> Markup {
    document(title, bar(agent, place), html! { main id="main" { (body) } })
}

/// One that a script keeps up to date while it is looked at. What is there without scripts is the page as it was loaded.
pub(crate) fn live_page(agent: &Agent, place: Place, title: &str, body: Markup) -> Markup {
    let main = html! {
        main id="main" data-live { (body) }
        p.hidden role="status" id="live" {}
    };
    document(title, bar(agent, place), main)
}

fn bar(agent: &Agent, place: Place) -> Markup {
    html! {
        header.bar {
            a.brand href="/" { img src=(*LOGO_URL) alt="" width="28" height="28"; "nightdrop" }
            nav aria-label="Console" {
                @for (there, path, label) in PLACES {
                    @if visible(there, agent) { a href=(path) aria-current=[(there == place).then_some("page")] { (label) } }
                }
            }
            div.me {
                a href="/account" title="Your account" aria-current=[(place == Place::Account).then_some("page")] { (agent.name) }
                form method="post" action="/sign-out" { button.link { "Sign out" } }
            }
        }
    }
}

/// A page for somebody of whom nothing is known.
pub(crate) fn outside(title: &str, body: Markup) -> Markup {
    document(title, html! {}, html! { main id="main" { (body) } })
}

/// Marks an answer as a page: where a form is answered with it, the browser is led to it by a GET.
pub(crate) struct Landing;

pub(crate) fn landing(mut answer: HttpResponse) -> HttpResponse {
    answer.extensions_mut().insert(Landing);
    answer
}

/// Whether a refusal answers something that our own pages do not send: it stays the answer to what was sent.
fn stays(problem: &Problem) -> bool {
    ["auth.forbidden", "request.cross_site", "request.method"].contains(&&*problem.code)
}

pub(crate) fn failure(problem: &Problem) -> HttpResponse {
    let request_id = request_id::present();
    let body = html! {
        div.outside {
            h1 { "This is not possible" }
            p.notice.bad role="alert" { (problem.detail) }
            p { a.button.plain href="/" { "To the overview" } }
            @if let Some(id) = &request_id { p.quiet { "Id of this request, for whoever looks it up in the log: " code { (id) } } }
        }
    };
    let answer = problem
        .page()
        .content_type("text/html; charset=utf-8")
        .body(outside("Not possible", body).into_string());
    if stays(problem) { answer } else { landing(answer) }
}

fn document(title: &str, bar: Markup, main: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                meta name="robots" content="noindex";
                meta name="color-scheme" content="light dark";
                title { (title) " · nightdrop" }
                link rel="icon" href=(*LOGO_URL) type="image/svg+xml";
                link rel="stylesheet" href=(*CONSOLE_CSS_URL);
                script src=(*CONSOLE_JS_URL) defer {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                (bar)
                (main)
            }
        }
    }
}
