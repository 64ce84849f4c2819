//! The first steps of a new portal: what is still to be done before real documents come.

use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::first_step::FirstStep;
use crate::http::context::{AppState, State};
use crate::http::error::Problem;
use crate::http::extract::json::Json;
use crate::http::staff::auth::Call;
use crate::http::staff::permission::Admin;
use crate::http::staff::shapes::{FirstStepStateWord, FirstStepWord, TickableStepWord};
use crate::workflow::query::first_steps::{self, Asker};

use super::Answer;

#[derive(Serialize, ToSchema)]
pub(crate) struct FirstStepList {
    /// Put away: the console does not show them.
    pub hidden: bool,
    pub steps: Vec<OneFirstStep>,
}

/// One of them. `second-factor` is done when every admin who can sign in has one.
#[derive(Serialize, ToSchema)]
#[schema(as = FirstStepEntry)]
pub(crate) struct OneFirstStep {
    #[schema(value_type = FirstStepWord)]
    pub step: &'static str,
    #[schema(value_type = FirstStepStateWord)]
    pub state: &'static str,
    /// The portal cannot see it, or doing without it is a decision: somebody ticks it off.
    pub can_be_ticked_off: bool,
}

/// One of the two, or both.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"tick_off": "backup"}), json!({"hidden": true})))]
pub(crate) struct FirstStepChange {
    /// This one is done, or not needed.
    #[schema(value_type = Option<TickableStepWord>)]
    pub tick_off: Option<String>,
    /// Puts the list away in the console, or shows it again.
    pub hidden: Option<bool>,
}

/// What is still to be done once with a new portal.
#[utoipa::path(get, path = "/first-steps", operation_id = "list_first_steps", tag = "admin",
    responses((status = 200, description = "All of them.", body = FirstStepList)), security(("api_key" = ["admin"])))]
pub(crate) async fn list(_: Call<Admin>, state: State) -> Answer {
    listed(&state).await
}

/// Tick a first step off that the portal cannot see, or put the list away. What is so already changes nothing and is not written down.
#[utoipa::path(post, path = "/first-steps", operation_id = "change_first_steps", tag = "admin", request_body = FirstStepChange,
    responses((status = 200, description = "All of them.", body = FirstStepList)), security(("api_key" = ["admin"])))]
pub(crate) async fn change(
    Call {
        who: caller,
        with: Json(body),
    }: Call<Admin, Json<FirstStepChange>>,
    state: State,
) -> Answer {
    if body.tick_off.is_none() && body.hidden.is_none() {
        return Err(Problem::field_must("tick_off", "given, or hidden"));
    }
    if let Some(text) = &body.tick_off {
        let step = FirstStep::parse(text).filter(|step| step.can_be_ticked());
        let step = step.ok_or_else(|| Problem::field_must("tick_off", "a step that can be ticked off"))?;
        first_steps::tick(&state.portal, step, caller.actor()).await?;
    }
    if let Some(hidden) = body.hidden {
        first_steps::hide(&state.portal, hidden, caller.actor()).await?;
    }
    listed(&state).await
}

async fn listed(state: &AppState) -> Answer {
    let steps = first_steps::all(&state.portal, Asker::Machine, state.settings.staff_url.as_deref()).await?;
    let steps = steps.0.iter().map(|(step, state)| OneFirstStep {
        step: step.as_str(),
        state: state.as_str(),
        can_be_ticked_off: step.can_be_ticked(),
    });
    Ok(HttpResponse::Ok().json(FirstStepList {
        hidden: first_steps::hidden(&state.portal).await?,
        steps: steps.collect(),
    }))
}
