//! Second factors of one's own account: confirming, adding an app or a passkey, and the codes that are shown once.

use data_encoding::BASE64;
use maud::{Markup, html};
use zeroize::Zeroizing;

use crate::domain::agent::Agent;
use crate::http::assets::PASSKEY_JS_URL;
use crate::http::error::Problem;
use crate::http::staff::console::frame::{self, Place};
use crate::http::staff::console::sign_in::page::{Offer, passkey_button, passkeys_at};
use crate::http::staff::console::widgets::{Field, Input, new_password, refusal};

/// The gate before what needs a fresh proof.
/// `sso`: one can come in by single sign-on.
pub(crate) fn confirm(agent: &Agent, sso: bool, offer: &Offer, next: &str, refused: Option<&str>) -> Markup {
    let factors = &agent.factors;
    let body = html! {
        div.outside {
            h1 { "Is it still you?" }
            p.lead { "What comes next needs a fresh proof. It is good for ten minutes." }
            @if let Some(refused) = refused { p.notice.bad role="alert" { (refused) } }
            @if !factors.passkeys.is_empty() { (passkey_button(offer, "/account/confirm", "/account/confirm/begin", next, "Use a passkey")) }
            @if factors.totp.is_some() {
                form.card method="post" action="/account/confirm" {
                    input type="hidden" name="next" value=(next);
                    (Field::new("code", "Code of your authenticator app").hint("Six digits.")
                        .input("text", "", None, Input { focus: true, autocomplete: "one-time-code", longest: Some(20), ..Input::default() }))
                    div.actions { button.primary.wide { "Go on" } }
                }
            } @else if !factors.any() && agent.password.is_some() {
                form.card method="post" action="/account/confirm" {
                    input type="hidden" name="next" value=(next);
                    input type="hidden" name="email" value=(agent.email) autocomplete="username";
                    (Field::new("password", "Your password").input("password", "", None, Input { focus: true, autocomplete: "current-password", ..Input::default() }))
                    div.actions { button.primary.wide { "Go on" } }
                }
            } @else if !factors.any() && sso {
                p { a.button href={ "/sign-in/sso?next=" (next) } { "Sign in again" } }
            } @else if !factors.any() {
                p { "Sign out and in again; then go on within ten minutes." }
            }
            p { a href="/account" { "Back to your account" } }
        }
    };
    frame::page(agent, Place::Account, "Is it still you?", body)
}

/// The page before everything else, for somebody whose password an admin chose.
pub(crate) fn first_password(agent: &Agent, shortest: usize, problem: Option<&Problem>) -> Markup {
    let body = html! {
        div.outside {
            h1 { "Set your own password" }
            p.lead { "The one that you signed in with was given to you, so somebody else knows it." }
            form.card method="post" action="/account/first-password" {
                (refusal(problem))
                input type="hidden" name="email" value=(agent.email) autocomplete="username";
                (new_password(shortest, problem))
                div.actions { button.primary.wide { "Set the password" } }
            }
        }
    };
    frame::page(agent, Place::Account, "Set your own password", body)
}

/// A secret that an app is to be set up with.
pub(crate) struct AppOffer<'a> {
    /// As a QR code: a whole `<svg>` element.
    pub picture: String,
    /// To be typed.
    pub spoken: Zeroizing<String>,
    /// Comes back with the form.
    pub sealed: &'a str,
}

pub(crate) fn app(agent: &Agent, offer: &AppOffer<'_>, problem: Option<&Problem>) -> Markup {
    let body = html! {
        p.crumbs { a href="/account" { "Your account" } }
        h1 { "Add an authenticator app" }
        div.columns {
            section.card {
                h2 { "1. Scan this with the app" }
                img.qr alt="QR code for the authenticator app" width="200" height="200" src={ "data:image/svg+xml;base64," (BASE64.encode(offer.picture.as_bytes())) };
                details { summary { "The app cannot scan?" }
                    p { "Type this key, for codes by time with six digits:" }
                    p.mono.secret-key { (*offer.spoken) }
                }
            }
            form.card method="post" action="/account/app" {
                h2 { "2. Type the code that it shows" }
                (refusal(problem))
                input type="hidden" name="offer" value=(offer.sealed);
                (Field::new("code", "Code").hint("Six digits.").input("text", "", problem, Input { focus: true, autocomplete: "one-time-code", longest: Some(20), ..Input::default() }))
                div.actions { button.primary { "Add the app" } a.button.plain href="/account" { "Cancel" } }
            }
        }
    };
    frame::page(agent, Place::Account, "Add an authenticator app", body)
}

pub(crate) fn passkey(agent: &Agent, offer: &Offer, problem: Option<&Problem>) -> Markup {
    let body = html! {
        div.outside {
            p.crumbs { a href="/account" { "Your account" } }
            h1 { "Add a passkey" }
            p.lead { "This device, a telephone or a security key then signs you in: with a finger, a face or a PIN, and without a password." }
            (passkeys_at(offer))
            @if matches!(offer, Offer::Here) {
                noscript { p.notice.warn { "Passkeys need JavaScript. An authenticator app works without it." } }
                form.card method="post" action="/account/passkeys" data-passkey="/account/passkeys/begin" data-make="" {
                    (refusal(problem))
                    (Field::new("name", "Its name").hint("So that you recognise it later: “Work laptop”.")
                        .input("text", "", problem, Input { focus: true, longest: Some(60), ..Input::default() }))
                    input type="hidden" name="ceremony";
                    input type="hidden" name="credential";
                    div.actions { button.primary { "Add the passkey" } a.button.plain href="/account" { "Cancel" } }
                    p.fault role="alert" hidden {}
                }
                script src=(*PASSKEY_JS_URL) defer {}
            }
        }
    };
    frame::page(agent, Place::Account, "Add a passkey", body)
}

pub(crate) fn codes(agent: &Agent, codes: &[Zeroizing<String>]) -> Markup {
    let text = codes.iter().map(|c| c.as_str()).collect::<Vec<_>>().join("\n");
    let body = html! {
        div.outside {
            h1 { "Your recovery codes" }
            p.notice.good role="status" { strong { "Shown for ten minutes. " } "Each of them opens your account one time, with your password, when everything else is lost. Print them, or put them into a password manager." }
            div.card {
                div.field {
                    label for="codes" { "Ten codes" }
                    textarea.mono id="codes" rows="10" readonly autocomplete="off" spellcheck="false" { (text) }
                }
                div.actions { button.plain type="button" data-copy="codes" hidden { "Copy" } a.button.primary href="/account" { "I have them" } }
            }
        }
    };
    frame::page(agent, Place::Account, "Your recovery codes", body)
}
