//! What colleagues tell one another about a request, and who of them sees to it.

use data_encoding::HEXLOWER;

use crate::domain::id::RequestId;
use crate::http::context::State;
use crate::http::error::Problem;
use crate::http::extract::form::{Typed, keeps};
use crate::http::extract::path::Id;
use crate::http::staff::auth::Post;
use crate::http::staff::console::Page;
use crate::http::staff::console::requests::handlers::done;
use crate::http::staff::permission::Requests;
use crate::workflow::assignment::{self, WantedAssignee};
use crate::workflow::notes;

keeps! {
    /// Of a note.
    NoteFields: "once" "text";
    /// Of whom a request is assigned to.
    AssignFields: "agent" "take";
}

/// The same text twice from one page is an impatient finger; another text from it, after Back, is another note.
pub(crate) async fn add_note(Post { who, with: (Id(id), form) }: Post<Requests, (Id<RequestId>, Typed<NoteFields>)>, state: State) -> Page {
    let mut client = form.once(&who.agent)?;
    client.key = format!("{} {}", client.key, HEXLOWER.encode(&client.body));
    done(
        notes::add(&state.portal, id, form.raw("text"), who.actor(), Some(client)).await?,
        "noted",
    )
}

/// By the list, or by the button with which somebody takes it.
pub(crate) async fn assign(Post { who, with: (Id(id), form) }: Post<Requests, (Id<RequestId>, Typed<AssignFields>)>, state: State) -> Page {
    let chosen = form.filled("take").unwrap_or_else(|| form.text("agent").to_owned());
    let wanted = WantedAssignee::parse(&chosen).ok_or_else(|| Problem::field_must("agent", "one of the list"))?;
    let to = wanted.named("agent", Some(who.agent.id))?;
    done(
        assignment::assign(&state.portal, id, to, who.actor()).await?,
        if to.is_some() { "assigned" } else { "unassigned" },
    )
}
