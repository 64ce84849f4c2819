//! Signing in, and one's own account.

use maud::{Markup, html};

use super::frame::{self, Place};
use super::{Field, Input, refusal};
use crate::domain::agent::Agent;
use crate::http::error::Problem;
use crate::http::pages::assets::LOGO_URL;
use crate::workflow::sign_in::{PASSWORD_MAX, PASSWORD_MIN};

pub fn sign_in(company: &str, email: &str, next: &str, refused: Option<&str>) -> Markup {
    let body = html! {
        div.outside {
            p.mark { img src=(*LOGO_URL) alt="" width="56" height="56"; }
            h1 { "Sign in" }
            p.lead { "nightdrop for " (company) }
            @if let Some(refused) = refused { p.notice.bad role="alert" { (refused) } }
            form.card method="post" action="/sign-in" {
                input type="hidden" name="next" value=(next);
                (Field::new("email", "E-mail address").input("email", email, None, Input { focus: email.is_empty(), autocomplete: "username", ..Input::default() }))
                (Field::new("password", "Password")
                    .input("password", "", None, Input { focus: !email.is_empty(), autocomplete: "current-password", ..Input::default() }))
                div.actions { button.primary.wide { "Sign in" } }
            }
            p.quiet { "Forgotten? An admin can give you a new password." }
        }
    };
    frame::outside("Sign in", body)
}

pub fn own(agent: &Agent, problem: Option<&Problem>) -> Markup {
    let body = html! {
        h1 { "Your account" }
        div.columns {
            section.card {
                h2 { "You" }
                dl.facts {
                    dt { "Name" } dd { (agent.name) }
                    dt { "E-mail" } dd { (agent.email) }
                    dt { "Role" } dd { (agent.role.as_str()) }
                }
            }
            form.card method="post" action="/account" {
                h2 { "Change your password" }
                (refusal(problem))
                input type="hidden" name="email" value=(agent.email) autocomplete="username";
                (Field::new("current", "Present password").input("password", "", problem, Input { autocomplete: "current-password", ..Input::default() }))
                (new_password(problem))
                p.quiet { "Every other session of yours ends." }
                div.actions { button.primary { "Change password" } }
            }
        }
    };
    frame::page(agent, Place::Account, "Your account", body)
}

pub fn new_password(problem: Option<&Problem>) -> Markup {
    let input = Input {
        autocomplete: "new-password",
        shortest: Some(PASSWORD_MIN),
        longest: Some(PASSWORD_MAX),
        ..Input::default()
    };
    Field::new("password", "New password")
        .hint("At least 15 characters. A few words that do not belong together are fine.")
        .input("password", "", problem, input)
}
