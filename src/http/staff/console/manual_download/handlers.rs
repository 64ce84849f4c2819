//! Serving a provider by hand: the one route on which a document's bytes leave for a person. Only for providers of the kind `manual`, only with the role
//! manual-handler and a second factor shown within the last ten minutes, each part once, and written down before the first byte.

use actix_web::body::SizedStream;
use actix_web::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::StreamExt;

use crate::domain::document::PartName;
use crate::http::AppState;
use crate::http::staff::api::requests::parse;
use crate::http::error::Problem;
use crate::http::staff::console::manual_download::page as pages;
use crate::http::staff::console::widgets::Notice;
use crate::http::staff::auth::{AuthRedirect, Csrf, RecentlyVerified, SignedIn};
use crate::http::staff::permission::{ManualDownload};
use crate::workflow::manual_download::{self, by_hand};
use crate::workflow::terms;

use crate::http::staff::console::{Page, html};

/// What there is to download, and what was.
pub(crate) async fn page(
    RecentlyVerified(who): RecentlyVerified<ManualDownload>,
    state: web::Data<AppState>,
    id: web::Path<String>,
    request: HttpRequest,
) -> Page {
    with_factor(&who)?;
    let found = terms::load(&state.portal, parse(&id)?).await?;
    if !by_hand(&state.portal, &found) {
        return Err(nothing().into());
    }
    Ok(html(pages::page(&who.agent, &state, &found, Notice::of(&request))))
}

pub(crate) async fn download(
    _: Csrf,
    RecentlyVerified(who): RecentlyVerified<ManualDownload>,
    state: web::Data<AppState>,
    path: web::Path<(String, String)>,
) -> Page {
    with_factor(&who)?;
    let (id, part) = path.into_inner();
    let id = parse(&id)?;
    let part = PartName::parse(&part).ok_or_else(nothing)?;
    let handed = manual_download::manual_download(&state.portal, id, &part, who.actor()).await?;
    // Nothing here was chosen by the applicant: the name is the request's own.
    let name = format!("{id}-{part}.{}", handed.file_type.extension());
    let bytes = handed
        .bytes
        .map(|chunk| chunk.map_err(|_| Box::<dyn std::error::Error>::from("the document ended early")));
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/octet-stream"))
        .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
        .body(SizedStream::new(handed.size, bytes)))
}

/// A password, however fresh, is not enough here.
fn with_factor(who: &SignedIn<ManualDownload>) -> Result<(), AuthRedirect> {
    if who.agent.factors.any() {
        Ok(())
    } else {
        Err(AuthRedirect::SetUp)
    }
}

fn nothing() -> Problem {
    Problem::not_found("There is no such thing here.")
}
