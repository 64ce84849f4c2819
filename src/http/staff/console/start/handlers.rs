//! The first page: what needs a person, then how everything stands.

use actix_web::HttpRequest;

use crate::domain::agent::Role;
use crate::http::context::State;
use crate::http::staff::auth::Get;
use crate::http::staff::console::sign_in::handlers::only_password;
use crate::http::staff::console::start::page;
use crate::http::staff::console::widgets::Notice;
use crate::http::staff::console::{Page, live, see};
use crate::http::staff::permission::{Anyone, Read};
use crate::workflow::query::attention;

pub(crate) async fn start(Get { who, .. }: Get<Anyone>, state: State, done: Option<Notice>, request: HttpRequest) -> Page {
    if !who.may::<Read>() {
        return Ok(see(if who.agent.role == Role::Auditor { "/audit" } else { "/account" }));
    }
    let attention = attention::load(&state.portal, who.teams()).await?;
    let alone = only_password(&who.agent, &who.session);
    Ok(live(&request, page::page(&who.agent, &attention, alone, done), ""))
}
