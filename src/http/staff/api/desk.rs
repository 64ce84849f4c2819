//! What colleagues tell one another about a request.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::domain::id::RequestId;
use crate::http::context::State;
use crate::http::extract::json::Once;
use crate::http::extract::path::Id;
use crate::http::staff::auth::Call;
use crate::http::staff::permission::Requests;
use crate::http::staff::shapes::{NoteText, RequestIdText};
use crate::http::staff::view::request as view;
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
