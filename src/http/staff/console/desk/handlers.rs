//! What colleagues tell one another about a request.

use data_encoding::HEXLOWER;

use crate::domain::id::RequestId;
use crate::http::context::State;
use crate::http::extract::form::Form;
use crate::http::extract::path::Id;
use crate::http::staff::auth::Post;
use crate::http::staff::console::Page;
use crate::http::staff::console::requests::handlers::done;
use crate::http::staff::permission::Requests;
use crate::workflow::notes;

/// The same text twice from one page is an impatient finger; another text from it, after Back, is another note.
pub(crate) async fn add_note(Post { who, with: (Id(id), form) }: Post<Requests, (Id<RequestId>, Form)>, state: State) -> Page {
    let mut client = form.once(&who.agent)?;
    client.key = format!("{} {}", client.key, HEXLOWER.encode(&client.body));
    done(
        notes::add(&state.portal, id, form.raw("text"), who.actor(), Some(client)).await?,
        "noted",
    )
}
