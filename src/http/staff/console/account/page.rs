//! Signing in, and one's own account.

use maud::{Markup, html};

use crate::http::staff::console::frame::{self, Place};
use crate::http::staff::console::widgets::{Field, Input, Notice, ago, notice, refusal, when};
use crate::domain::agent::{Agent, Team};
use crate::http::AppState;
use crate::http::staff::console::account::handlers::entry_words;
use crate::http::staff::console::sign_in::handlers::Offer;
use crate::http::error::Problem;
use crate::http::pages::assets::{LOGO_URL, PASSKEY_JS_URL};
use crate::http::staff::auth::{SignedIn};
use crate::http::staff::permission::{Own};
use crate::workflow::sign_in::account::shortest_password;
use crate::workflow::sign_in::{Open, PASSWORD_MAX};

pub(crate) fn sign_in(state: &AppState, offer: &Offer, email: &str, next: &str, refused: Option<&str>) -> Markup {
    let body = html! {
        div.outside {
            p.mark { img src=(*LOGO_URL) alt="" width="56" height="56"; }
            h1 { "Sign in" }
            p.lead { "nightdrop for " (state.company.name) }
            @if let Some(refused) = refused { p.notice.bad role="alert" { (refused) } }
            form.card method="post" action="/sign-in" {
                input type="hidden" name="next" value=(next);
                (Field::new("email", "E-mail address").input("email", email, None, Input { focus: email.is_empty(), autocomplete: "username webauthn", ..Input::default() }))
                (Field::new("password", "Password")
                    .input("password", "", None, Input { focus: !email.is_empty(), autocomplete: "current-password", ..Input::default() }))
                div.actions { button.primary.wide { "Sign in" } }
            }
            @if let Some(sso) = &state.sso {
                p { a.button.plain.wide href={ "/sign-in/sso?next=" (next.replace('%', "%25").replace('&', "%26").replace('+', "%2B")) } { (sso.label()) } }
            }
            (passkey_button(offer, "/sign-in/passkey", "/sign-in/passkey/begin", next, "Sign in with a passkey"))
            p.quiet { "Forgotten? An admin can give you a new password." }
        }
    };
    frame::outside("Sign in", body)
}

/// The second half: a code of the app, or a recovery code, or a passkey.
pub(crate) fn second(offer: &Offer, agent: &Agent, next: &str, refused: Option<&str>) -> Markup {
    let body = html! {
        div.outside {
            p.mark { img src=(*LOGO_URL) alt="" width="56" height="56"; }
            h1 { "One more step" }
            p.lead { "Show that it is you." }
            @if let Some(refused) = refused { p.notice.bad role="alert" { (refused) } }
            @if !agent.factors.passkeys.is_empty() {
                (passkey_button(offer, "/sign-in/second", "/sign-in/passkey/begin?second", next, "Use a passkey"))
            }
            form.card method="post" action="/sign-in/second" {
                input type="hidden" name="next" value=(next);
                (Field::new("code", if agent.factors.totp.is_some() { "Code of your authenticator app" } else { "Recovery code" })
                    .hint(if agent.factors.totp.is_some() { "Six digits. A recovery code works here too." } else { "One of the ten that you were given." })
                    .input("text", "", None, Input { focus: true, autocomplete: "one-time-code", longest: Some(40), ..Input::default() }))
                div.actions { button.primary.wide { "Go on" } }
            }
            form method="post" action="/sign-out" { p.quiet { button.link { "Start again" } } }
        }
    };
    frame::outside("One more step", body)
}

/// A form that the script fills with the authenticator's answer; without scripts it is not there. Where a browser would refuse, the address where it would not.
pub(crate) fn passkey_button(offer: &Offer, action: &str, begin: &str, next: &str, label: &str) -> Markup {
    match offer {
        Offer::Here => {}
        elsewhere => return passkeys_at(elsewhere),
    }
    html! {
        form.passkey method="post" action=(action) data-passkey=(begin) hidden {
            input type="hidden" name="next" value=(next);
            input type="hidden" name="ceremony";
            input type="hidden" name="credential";
            div.actions { button.plain.wide { (label) } }
            p.fault role="alert" hidden {}
        }
        script src=(*PASSKEY_JS_URL) defer {}
    }
}

/// The address at which passkeys work, where that is not this one.
pub(crate) fn passkeys_at(offer: &Offer) -> Markup {
    html! { @if let Offer::At(origin) = offer { p.quiet { "Passkeys work at " a href=(origin) { (origin) } " only." } } }
}

pub(crate) fn own(
    who: &SignedIn<Own>,
    state: &AppState,
    offer: &Offer,
    sessions: &[Open],
    done: Option<Notice>,
    problem: Option<&Problem>,
) -> Markup {
    let agent = &who.agent;
    let unfinished = state.portal.policy.require_second_factor && !agent.factors.any();
    let body = html! {
        h1 { "Your account" }
        (notice(done))
        @if unfinished {
            p.notice.warn role="status" { strong { "One thing before you start. " } "A password alone is not enough here: add a passkey or an authenticator app below." }
        }
        div.columns {
            div {
                (second_factors(agent, state, offer))
                (open_sessions(sessions, state))
            }
            div {
                section.card {
                    h2 { "You" }
                    dl.facts {
                        dt { "Name" } dd { (agent.name) }
                        dt { "E-mail" } dd { (agent.email) }
                        dt { "Role" } dd { (agent.role.as_str()) }
                        @if !agent.teams.is_empty() { dt { "Teams" } dd { (agent.teams.iter().map(Team::as_str).collect::<Vec<_>>().join(", ")) } }
                    }
                }
                @if agent.password.is_some() {
                    form.card method="post" action="/account" {
                        h2 { "Change your password" }
                        (refusal(problem))
                        input type="hidden" name="email" value=(agent.email) autocomplete="username";
                        (Field::new("current", "Present password").input("password", "", problem, Input { autocomplete: "current-password", ..Input::default() }))
                        (new_password(shortest_password(&state.portal), problem))
                        p.quiet { "Every other session of yours ends." }
                        div.actions { button.primary { "Change password" } }
                    }
                }
            }
        }
    };
    frame::page(agent, Place::Account, "Your account", body)
}

fn second_factors(agent: &Agent, state: &AppState, offer: &Offer) -> Markup {
    let now = state.portal.now();
    let factors = &agent.factors;
    html! {
        section.card {
            h2 { "Second factor" }
            p.quiet { "A stolen password is then not enough. A passkey is the strongest, and the quickest to use." }
            ul.list {
                @for passkey in &factors.passkeys {
                    li.row {
                        div { strong { (passkey.name) } " " span.chip.good { "Passkey" } br;
                            span.quiet { "added " (when(passkey.made_at)) @if let Some(at) = passkey.used_at { ", used " (ago(at, now)) } } }
                        form method="post" action="/account/passkeys/remove" {
                            input type="hidden" name="passkey" value=(data_encoding::HEXLOWER.encode(&passkey.id));
                            button.plain { "Remove" span.hidden { " " (passkey.name) } }
                        }
                    }
                }
                @if let Some(totp) = &factors.totp {
                    li.row {
                        div { strong { "Authenticator app" } " " span.chip.good { "Codes" } br; span.quiet { "since " (when(totp.since)) } }
                        form method="post" action="/account/app/remove" { button.plain { "Remove" span.hidden { " the authenticator app" } } }
                    }
                }
                @if factors.any() {
                    li.row {
                        div { strong { "Recovery codes" } br; span.quiet { (factors.recovery.len()) " left" } }
                        form method="post" action="/account/codes" { button.plain { "Make new ones" } }
                    }
                }
            }
            div.actions {
                @if matches!(offer, Offer::Here) { a.button.primary href="/account/passkeys" { "Add a passkey" } }
                @if factors.totp.is_none() { a.button.plain href="/account/app" { "Add an authenticator app" } }
            }
            (passkeys_at(offer))
        }
    }
}

fn open_sessions(sessions: &[Open], state: &AppState) -> Markup {
    let now = state.portal.now();
    html! {
        section.card {
            h2 { "Where you are signed in" }
            ul.list {
                @for open in sessions {
                    li.row {
                        div { (entry_words(open.session.how)) ", " (when(open.session.created_at)) " "
                            @if open.here { span.chip.good { "Here" } } @else { span.quiet { "used " (ago(open.session.seen_at, now)) } } }
                        @if !open.here {
                            form method="post" action="/account/sessions/end" {
                                input type="hidden" name="session" value=(open.name);
                                button.plain { "End" span.hidden { " this session" } }
                            }
                        }
                    }
                }
            }
            form.actions method="post" action="/account/sessions/end-all" { button.plain { "Sign out everywhere" } }
        }
    }
}

pub(crate) fn new_password(shortest: usize, problem: Option<&Problem>) -> Markup {
    let input = Input {
        autocomplete: "new-password",
        shortest: Some(shortest),
        longest: Some(PASSWORD_MAX),
        ..Input::default()
    };
    let hint = format!("At least {shortest} characters. A few words that do not belong together are fine.");
    Field::new("password", "New password")
        .hint(&hint)
        .input("password", "", problem, input)
}
