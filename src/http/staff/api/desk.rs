//! What colleagues tell one another about a request, and who of them sees to it.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::domain::id::RequestId;
use crate::http::context::State;
use crate::http::error::Problem;
use crate::http::extract::json::{Json, Once};
use crate::http::extract::path::Id;
use crate::http::staff::auth::Call;
use crate::http::staff::permission::Requests;
use crate::http::staff::shapes::{AssignedText, NoteText, RequestIdText};
use crate::http::staff::view::request as view;
use crate::workflow::assignment::{self, WantedAssignee};
use crate::workflow::notes;

use super::Answer;
use super::requests::acted;

/// A note for whoever sees the request. Sealed at rest; in no log, event or mail.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"text": "Called back at 15:10: the new passport comes next week."})))]
pub(crate) struct NewNote {
    #[schema(value_type = NoteText)]
    pub text: String,
}

/// Write a note for colleagues on a request; neither the applicant nor the provider sees it. A request holds 50 at most, and they are gone with it.
#[utoipa::path(post, path = "/requests/{id}/notes", operation_id = "add_note", tag = "requests", request_body = NewNote,
    params(("id" = RequestIdText, Path, description = "The request."),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, kept for at least 24 hours.", min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    responses((status = 200, description = "The request.", body = view::Request)), security(("api_key" = ["requests"])))]
pub(crate) async fn add_note(
    Call {
        who: caller,
        with: (Id(id), Once { body, key }),
    }: Call<Requests, (Id<RequestId>, Once<NewNote>)>,
    state: State,
) -> Answer {
    acted(
        &state,
        notes::add(&state.portal, id, &body.text, caller.actor(), caller.once(key)).await?,
    )
    .await
}

/// Who is to see to a request.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"agent": "agt_02m0b3gk5t1q9h8v7n6c5x4z3a"}), json!({"agent": null})))]
pub(crate) struct Assignment {
    /// An agent's id, or `me`: the agent who made the API key. `null` or `none`: nobody.
    #[schema(value_type = Option<AssignedText>, required = true)]
    pub agent: Option<String>,
}

/// Assign a request to an agent who may see it, or to nobody. Assigning it to whom it is assigned changes nothing and is not written down. An agent who is disabled or deleted, or
/// whose team changes, works on it no more: the request is nobody's then, and `formerly_assigned` says whose it was.
#[utoipa::path(post, path = "/requests/{id}/assign", operation_id = "assign_request", tag = "requests", request_body = Assignment,
    params(("id" = RequestIdText, Path, description = "The request.")),
    responses((status = 200, description = "The request.", body = view::Request)), security(("api_key" = ["requests"])))]
pub(crate) async fn assign(
    Call {
        who: caller,
        with: (Id(id), Json(body)),
    }: Call<Requests, (Id<RequestId>, Json<Assignment>)>,
    state: State,
) -> Answer {
    let wanted = body.agent.as_deref().map_or(Some(WantedAssignee::Nobody), WantedAssignee::parse);
    let wanted = wanted.ok_or_else(|| Problem::field_must("agent", WantedAssignee::ACCEPTED))?;
    let to = wanted.named("agent", caller.made_by())?;
    acted(&state, assignment::assign(&state.portal, id, to, caller.actor()).await?).await
}
