//! Signing in: a password, then a second proof; or a passkey alone.

use maud::{Markup, html};

use crate::domain::agent::Agent;
use crate::http::assets::{LOGO_URL, PASSKEY_JS_URL};
use crate::http::staff::console::frame;
use crate::http::staff::console::widgets::{Field, Input};

/// Whether a browser that asks here could use a passkey: it refuses at any address but the one that passkeys are made for.
pub(crate) enum Offer {
    Here,
    /// At this address only.
    At(String),
    /// The console has no name of its own.
    Nowhere,
}

/// What the sign-in page shows.
pub(crate) struct SignInPage<'a> {
    pub company: &'a str,
    /// The button of single sign-on, where there is one.
    pub sso: Option<&'a str>,
    pub offer: Offer,
    pub email: &'a str,
    /// Where to go afterwards.
    pub next: &'a str,
    pub refused: Option<&'a str>,
}

pub(crate) fn sign_in(page: &SignInPage<'_>) -> Markup {
    let SignInPage { email, next, refused, .. } = page;
    let body = html! {
        div.outside {
            p.mark { img src=(*LOGO_URL) alt="" width="56" height="56"; }
            h1 { "Sign in" }
            p.lead { "nightdrop for " (page.company) }
            @if let Some(refused) = refused { p.notice.bad role="alert" { (refused) } }
            form.card method="post" action="/sign-in" {
                input type="hidden" name="next" value=(next);
                (Field::new("email", "E-mail address").input("email", email, None, Input { focus: email.is_empty(), autocomplete: "username webauthn", ..Input::default() }))
                (Field::new("password", "Password")
                    .input("password", "", None, Input { focus: !email.is_empty(), autocomplete: "current-password", ..Input::default() }))
                div.actions { button.primary.wide { "Sign in" } }
            }
            @if let Some(sso) = page.sso {
                p { a.button.plain.wide href={ "/sign-in/sso?next=" (next.replace('%', "%25").replace('&', "%26").replace('+', "%2B")) } { (sso) } }
            }
            (passkey_button(&page.offer, "/sign-in/passkey", "/sign-in/passkey/begin", next, "Sign in with a passkey"))
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
