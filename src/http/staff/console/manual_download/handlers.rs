//! Serving a provider by hand: the one route on which a document's bytes leave for a person. Only for providers of the kind `manual`, only with the role
//! manual-handler and a second factor shown within the last ten minutes, each part once, and written down before the first byte.

use actix_web::body::SizedStream;
use actix_web::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use actix_web::{HttpResponse, web};
use futures_util::StreamExt;

use crate::domain::document::PartName;
use crate::domain::id::RequestId;
use crate::http::context::State;
use crate::http::error::Problem;
use crate::http::extract::path::Id;
use crate::http::staff::auth::{AuthRedirect, FreshGet, FreshPost, SignedIn};
use crate::http::staff::console::manual_download::page as pages;
use crate::http::staff::console::widgets::Notice;
use crate::http::staff::console::{Page, html};
use crate::http::staff::permission::ManualDownload;
use crate::workflow::manual_download;
use crate::workflow::query::requests::Row;

/// What there is to download, and what was.
pub(crate) async fn page(
    FreshGet { who, with: Id(id) }: FreshGet<ManualDownload, Id<RequestId>>,
    state: State,
    done: Option<Notice>,
) -> Page {
    with_factor(&who)?;
    let row = Row::load(&state.portal, id).await?;
    if !row.by_hand {
        return Err(nothing().into());
    }
    Ok(html(pages::page(&who.agent, &row, state.portal.now(), done)))
}

pub(crate) async fn download(
    FreshPost { who, with: Id(id) }: FreshPost<ManualDownload, Id<RequestId>>,
    state: State,
    path: web::Path<(String, String)>,
) -> Page {
    with_factor(&who)?;
    let (_, part) = path.into_inner();
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
