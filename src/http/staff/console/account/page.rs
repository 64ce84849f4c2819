//! One's own account: second factors, sessions, the password.

use maud::{Markup, html};
use time::OffsetDateTime;

use crate::domain::agent::{Agent, AuthMethod, Team};
use crate::http::error::Problem;
use crate::http::staff::console::frame::{self, Place};
use crate::http::staff::console::sign_in::page::{Offer, passkeys_at};
use crate::http::staff::console::widgets::{Field, Input, Notice, ago, new_password, notice, refusal, when};
use crate::workflow::sign_in::OpenSession;

/// What somebody's own page shows.
pub(crate) struct OwnPage<'a> {
    pub agent: &'a Agent,
    pub offer: Offer,
    pub sessions: Vec<OpenSession>,
    /// The fewest characters of a password.
    pub shortest: usize,
    /// A second factor is demanded of everybody.
    pub demanded: bool,
    pub now: OffsetDateTime,
    pub done: Option<Notice>,
    pub problem: Option<&'a Problem>,
}

pub(crate) fn own(page: &OwnPage<'_>) -> Markup {
    let OwnPage { agent, done, problem, .. } = *page;
    let unfinished = page.demanded && !agent.factors.any();
    let body = html! {
        h1 { "Your account" }
        (notice(done))
        @if unfinished {
            p.notice.warn role="status" { strong { "One thing before you start. " } "A password alone is not enough here: add a passkey or an authenticator app below." }
        }
        div.columns {
            div {
                (second_factors(agent, &page.offer, page.now))
                (open_sessions(&page.sessions, page.now))
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
                        (new_password(page.shortest, problem))
                        p.quiet { "Every other session of yours ends." }
                        div.actions { button.primary { "Change password" } }
                    }
                }
            }
        }
    };
    frame::page(agent, Place::Account, "Your account", body)
}

fn second_factors(agent: &Agent, offer: &Offer, now: OffsetDateTime) -> Markup {
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

fn open_sessions(sessions: &[OpenSession], now: OffsetDateTime) -> Markup {
    html! {
        section.card {
            h2 { "Where you are signed in" }
            ul.list {
                @for open in sessions {
                    li.row {
                        div { strong { (open.session.browser) } br; (entry_words(open.session.how)) ", " (when(open.session.created_at)) " "
                            @if open.here { span.chip.good { "Here" } } @else { span.quiet { "used " (ago(open.session.seen_at, now)) } } }
                        @if !open.here {
                            form method="post" action="/account/sessions/end" {
                                input type="hidden" name="session" value=(open.name);
                                button.plain { "End" span.hidden { " the session of " (open.session.browser) } }
                            }
                        }
                    }
                }
            }
            form.actions method="post" action="/account/sessions/end-all" { button.plain { "Sign out everywhere" } }
        }
    }
}

/// How a session began, in words.
pub(crate) fn entry_words(how: AuthMethod) -> &'static str {
    match how {
        AuthMethod::PasswordVerified => "not finished",
        AuthMethod::Password => "password",
        AuthMethod::Code => "password and code",
        AuthMethod::RecoveryCode => "password and recovery code",
        AuthMethod::Passkey => "passkey",
        AuthMethod::SingleSignOn => "single sign-on",
    }
}
