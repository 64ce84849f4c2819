//! The list as a table for a spreadsheet: what the filter finds and the agent may see, read page by page and never in memory as a whole. A POST like every search: an
//! applicant's reference stands in no address.

use actix_web::HttpResponse;
use bytes::Bytes;
use futures_util::stream;

use crate::chain::chain;
use crate::http::context::State;
use crate::http::csv::cell;
use crate::http::extract::form::Typed;
use crate::http::staff::auth::Post;
use crate::http::staff::console::Page;
use crate::http::staff::console::desk::page::assignee_words;
use crate::http::staff::input::{Search, SearchFields};
use crate::http::staff::permission::Read;
use crate::http::staff::view::request::instant;
use crate::workflow::export;
use crate::workflow::query::names::Names;
use crate::workflow::query::requests::{self, Row, Wanted};

const STEP: usize = 200;
const HEAD: &str = "number,document,provider,applicant,ticket,state,outcome,issued,issued by,assigned to,link expires,received\r\n";

pub(crate) async fn list(Post { who, with: form }: Post<Read, Typed<SearchFields>>, state: State) -> Page {
    let mut search = Search::of(&form);
    search.cursor = None;
    // Checked before the first byte leaves.
    search.wanted()?;
    export::begin(&state.portal, who.actor()).await?;
    let names = Names::load(&state.portal).await?;
    let whose = (who.teams(), Some(who.agent.id));
    let start = (state, search, names, whose, Some(Bytes::from_static(HEAD.as_bytes())), true);
    let lines = stream::try_unfold(start, |(state, mut search, names, whose, head, more)| async move {
        if let Some(head) = head {
            return Ok::<_, std::io::Error>(Some((head, (state, search, names, whose, None, more))));
        }
        if !more {
            return Ok(None);
        }
        let cut = |what: &str| {
            tracing::error!(error = %what, "the export of a list was cut off");
            std::io::Error::other("the list cannot be read")
        };
        let wanted = search.wanted().map_err(|problem| cut(&problem.code))?;
        let wanted = Wanted {
            teams: whose.0.clone(),
            me: whose.1,
            ..wanted
        };
        let listed = requests::list(&state.portal, wanted, STEP)
            .await
            .map_err(|error| cut(&chain(&error).to_string()))?;
        let now = state.portal.now();
        let text: String = listed.rows.iter().map(|row| line(row, &names, now)).collect();
        let more = listed.next.is_some();
        search.cursor = listed.next;
        Ok(Some((Bytes::from(text), (state, search, names, whose, None, more))))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/csv; charset=utf-8; header=present")
        .insert_header(("Content-Disposition", "attachment; filename=\"nightdrop-requests.csv\""))
        .streaming(lines))
}

fn line(row: &Row, names: &Names, now: time::OffsetDateTime) -> String {
    let request = &row.request;
    let received = request.held().map(|(document, _)| document.received_at);
    let received = received.or_else(|| request.tombstones.last().map(|stone| stone.received_at));
    let cells = [
        request.id.to_string(),
        request.document.to_string(),
        request.provider.to_string(),
        row.applicant.clone().unwrap_or_default(),
        row.ticket.clone().unwrap_or_default(),
        request.state(now).as_str().to_owned(),
        request.outcome(now).as_str().to_owned(),
        instant(request.created_at),
        names.of_actor(&request.created_by.to_string()).to_owned(),
        assignee_words(&row.assignee),
        instant(request.link.expires_at),
        received.map(instant).unwrap_or_default(),
    ];
    let cells: Vec<_> = cells.iter().map(|text| cell(text)).collect();
    format!("{}\r\n", cells.join(","))
}
