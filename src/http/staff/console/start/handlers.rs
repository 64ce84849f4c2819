//! The first page: what needs a person, then how everything stands.

use actix_web::{HttpRequest, web};

use crate::domain::agent::Role;
use crate::http::AppState;
use crate::http::staff::console::start::page as pages;
use crate::http::staff::console::widgets::Notice;
use crate::http::staff::auth::{SignedIn};
use crate::http::staff::permission::{Anyone, Read};
use crate::workflow::query::attention;

use crate::http::staff::console::sign_in::handlers::only_password;
use crate::http::staff::console::{Page, html, see};

pub(crate) async fn start(who: SignedIn<Anyone>, state: web::Data<AppState>, request: HttpRequest) -> Page {
    if !who.may::<Read>() {
        return Ok(see(if who.agent.role == Role::Auditor { "/audit" } else { "/account" }));
    }
    let attention = attention::load(&state.portal, who.teams()).await?;
    let alone = only_password(&who.agent, &who.session);
    Ok(html(pages::page(&who.agent, &state, &attention, alone, Notice::of(&request))))
}
