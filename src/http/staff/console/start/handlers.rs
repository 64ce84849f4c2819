//! The first page: what needs a person, then how everything stands.

use actix_web::HttpRequest;

use crate::domain::agent::Role;
use crate::domain::first_step::FirstStep;
use crate::http::context::State;
use crate::http::extract::form::{Typed, keeps};
use crate::http::staff::auth::{Get, Post};
use crate::http::staff::console::sign_in::handlers::only_password;
use crate::http::staff::console::start::page;
use crate::http::staff::console::widgets::Notice;
use crate::http::staff::console::{Page, live, see};
use crate::http::staff::permission::{Admin, Anyone, Read};
use crate::workflow::query::attention;
use crate::workflow::query::first_steps;

keeps! {
    /// Of a first step.
    StepFields: "done" "hide" "show";
}

pub(crate) async fn start(Get { who, .. }: Get<Anyone>, state: State, done: Option<Notice>, request: HttpRequest) -> Page {
    if !who.may::<Read>() {
        return Ok(see(if who.agent.role == Role::Auditor { "/audit" } else { "/account" }));
    }
    let attention = attention::load(&state.portal, who.teams()).await?;
    let alone = only_password(&who.agent, &who.session);
    let steps = match who.may::<Admin>() {
        true => first_steps::load(&state.portal, &who.agent, state.settings.staff_url.as_deref()).await?,
        false => None,
    };
    Ok(live(&request, page::page(&who.agent, &attention, steps.as_ref(), alone, done), ""))
}

/// Ticks a step off, hides the list, or shows it again.
pub(crate) async fn first_steps(Post { who, with: form }: Post<Admin, Typed<StepFields>>, state: State) -> Page {
    if form.ticked("hide") {
        first_steps::hide(&state.portal, true, who.actor()).await?;
        return Ok(see("/?done=steps-hidden"));
    }
    if form.ticked("show") {
        first_steps::hide(&state.portal, false, who.actor()).await?;
    } else if let Some(step) = FirstStep::parse(form.text("done")) {
        first_steps::tick(&state.portal, step, who.actor()).await?;
    }
    Ok(see("/"))
}
