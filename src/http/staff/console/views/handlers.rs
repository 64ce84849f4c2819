//! Lists of requests under a name: saving the present one, renaming and deleting.

use crate::domain::saved_view::{SavedView, ViewChange};
use crate::http::context::{AppState, State};
use crate::http::error::Problem;
use crate::http::extract::form::{Typed, keeps};
use crate::http::staff::auth::{Get, Post, SignedIn};
use crate::http::staff::console::requests::page::address_of;
use crate::http::staff::console::views::page::{self as pages, ViewsPage};
use crate::http::staff::console::widgets::Notice;
use crate::http::staff::console::{Page, html, html_of, see};
use crate::http::staff::input::Search;
use crate::http::staff::permission::Read;
use crate::workflow::{WorkflowError, views};

keeps! {
    /// Of a new view: its name and its filter.
    ViewFields: "name" "state" "outcome" "provider" "agent" "assigned" "older_than" "sort";
    /// Of one that is renamed or deleted.
    ViewChangeFields: "from" "act" "name";
}

pub(crate) async fn list(Get { who, .. }: Get<Read>, state: State, done: Option<Notice>) -> Page {
    let views = views::of(&state.portal, who.agent.id).await?;
    Ok(html(pages::list(&ViewsPage {
        agent: &who.agent,
        views: &views,
        unsaved: None,
        wrong: None,
        done,
        problem: None,
    })))
}

pub(crate) async fn save(Post { who, with: form }: Post<Read, Typed<ViewFields>>, state: State) -> Page {
    // What somebody looked for is no part of a view: it may be an applicant's reference.
    let search = Search {
        find: None,
        applicant: None,
        cursor: None,
        ..Search::of(&form)
    };
    search.wanted()?;
    let (name, filter) = (form.text("name").to_owned(), address_of(&search));
    let view = SavedView {
        name: name.clone(),
        filter: filter.clone(),
    };
    match views::change(&state.portal, who.agent.id, ViewChange::Save(view)).await {
        Ok(()) => Ok(see(&format!("/requests?{filter}"))),
        Err(error) => refused(&who, &state, error, Some((&name, &search)), None).await,
    }
}

pub(crate) async fn change(Post { who, with: form }: Post<Read, Typed<ViewChangeFields>>, state: State) -> Page {
    let from = form.text("from").to_owned();
    let change = match form.text("act") {
        "rename" => ViewChange::Rename {
            from: from.clone(),
            to: form.text("name").to_owned(),
        },
        "delete" => ViewChange::Delete { name: from.clone() },
        _ => return Err(Problem::malformed("The form cannot be read.").into()),
    };
    match views::change(&state.portal, who.agent.id, change).await {
        Ok(()) => Ok(see("/requests/views?done=views")),
        Err(error) => refused(&who, &state, error, None, Some((&from, form.text("name")))).await,
    }
}

async fn refused(
    who: &SignedIn<Read>,
    state: &AppState,
    error: WorkflowError,
    unsaved: Option<(&str, &Search)>,
    wrong: Option<(&str, &str)>,
) -> Page {
    if !matches!(error, WorkflowError::Invalid { .. }) {
        return Err(error.into());
    }
    let problem = error.into();
    let views = views::of(&state.portal, who.agent.id).await?;
    let page = pages::list(&ViewsPage {
        agent: &who.agent,
        views: &views,
        unsaved,
        wrong,
        done: None,
        problem: Some(&problem),
    });
    Ok(html_of(&problem, page))
}
