//! The first page: what needs a person, then how everything stands.

use actix_web::{HttpRequest, web};

use crate::domain::agent::Role;
use crate::http::AppState;
use crate::http::pages::console::{Notice, start};
use crate::http::staff::{Anyone, Read, SignedIn};
use crate::workflow::query::attention;

use super::session::only_password;
use super::{Page, html, see};

pub(crate) async fn start(who: SignedIn<Anyone>, state: web::Data<AppState>, request: HttpRequest) -> Page {
    if !who.may::<Read>() {
        return Ok(see(if who.agent.role == Role::Auditor { "/audit" } else { "/account" }));
    }
    let attention = attention::load(&state.portal, who.teams()).await?;
    let alone = only_password(&who.agent, &who.session);
    Ok(html(start::page(&who.agent, &state, &attention, alone, Notice::of(&request))))
}
