//! The page behind a one-time link to an account.

use maud::{Markup, html};

use crate::domain::agent::Agent;
use crate::http::assets::{LOGO_URL, PASSKEY_JS_URL};
use crate::http::error::Problem;
use crate::http::staff::console::frame;
use crate::http::staff::console::sign_in::page::Offer;
use crate::http::staff::console::widgets::{new_password, refusal};

/// What the page shows.
pub(crate) struct InvitationPage<'a> {
    pub company: &'a str,
    pub agent: &'a Agent,
    pub token: &'a str,
    pub offer: Offer,
    /// The fewest characters of a password.
    pub shortest: usize,
    pub problem: Option<&'a Problem>,
}

pub(crate) fn form(page: &InvitationPage<'_>) -> Markup {
    let agent = page.agent;
    let path = format!("/invitation/{}/{}", agent.id, page.token);
    let body = html! {
        div.outside {
            p.mark { img src=(*LOGO_URL) alt="" width="56" height="56"; }
            h1 { "Welcome, " (agent.name) }
            p.lead { "nightdrop for " (page.company) ". Set how you sign in as " strong { (agent.email) } "; the link is then used up." }
            form.card method="post" action=(path) {
                h2 { "With a password" }
                (refusal(page.problem))
                input type="hidden" name="email" value=(agent.email) autocomplete="username";
                (new_password(page.shortest, page.problem))
                @if agent.factors.any() { p.quiet { "Your second factor stays as it is and is asked for next." } }
                div.actions { button.primary.wide { "Set the password and sign in" } }
            }
            @if matches!(page.offer, Offer::Here) && !agent.factors.any() {
                form.card.passkey method="post" action={ (path) "/passkey" } data-passkey={ (path) "/passkey/begin" } data-make="" hidden {
                    h2 { "Or with a passkey" }
                    p.quiet { "This device or a security key signs you in: with a finger, a face or a PIN, and without a password." }
                    input type="hidden" name="ceremony";
                    input type="hidden" name="credential";
                    div.actions { button.plain.wide { "Make a passkey and sign in" } }
                    p.fault role="alert" hidden {}
                }
                script src=(*PASSKEY_JS_URL) defer {}
            }
        }
    };
    frame::outside("Welcome", body)
}
