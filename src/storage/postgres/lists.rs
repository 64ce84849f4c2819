//! Lists: pages of requests by the narrowest index (keyset pagination), as in the embedded store.

use crate::domain::assignment::AssignedTo;
use crate::domain::list_order::ListOrder;
use crate::storage::outbox::AttentionKind;
use crate::storage::{Cursor, Filter, Page, StorageError, key};

use crate::domain::request::DocumentRequest;

use super::Core;
use super::columns::decode;
use super::error::Failed;
use super::tx::{Tx, Values};

/// Rows looked at at once.
const SCAN_STEP: usize = 200;
/// Rows looked at for one page at most: a page may be short, or empty, while more follow behind its cursor.
const PAGE_LOOK: usize = 5_000;

/// Which index leads: a column with the value that it must have.
enum Leading<'f> {
    All,
    Term(Vec<u8>),
    Bytes(&'static str, &'f [u8]),
    Number(&'static str, i16),
    Text(&'static str, String),
}

impl<'f> Leading<'f> {
    fn of(filter: &'f Filter) -> Self {
        if filter.order == ListOrder::Expiry {
            Self::All
        } else if let Some(index) = &filter.applicant_index {
            Self::Bytes("applicant", index)
        } else if let Some(reference) = &filter.receipt_reference {
            Self::Term(key::receipt_reference_prefix(reference))
        } else if let Some(word) = &filter.word {
            Self::Term(key::word_prefix(word))
        } else if let Some(state) = filter.state {
            Self::Number("state", i16::from(key::bucket(state)))
        } else if let Some(outcome) = filter.outcome {
            Self::Number("outcome", i16::from(key::outcome_bucket(outcome)))
        } else if let Some(AssignedTo::Agent(agent)) = &filter.assigned {
            Self::Bytes("assigned", &agent.0)
        } else if let Some(creator) = &filter.created_by {
            Self::Text("creator", creator.clone())
        } else if let Some(provider) = &filter.provider {
            Self::Text("provider", provider.as_str().to_owned())
        } else if let Some([team]) = filter.teams.as_deref() {
            Self::Text("team", team.as_str().to_owned())
        } else {
            Self::All
        }
    }
}

pub(super) async fn page(core: &Core, tx: &Tx, filter: &Filter, after: Option<Cursor>, limit: usize) -> Result<Page, Failed> {
    let now = core.clock.now();
    // What time has ended and nobody has noted yet is behind a list of what ends next.
    let start = (filter.order == ListOrder::Expiry).then(|| Cursor::at(now));
    let mut behind = after.or(start);
    let step = SCAN_STEP.max(limit);
    let leading = Leading::of(filter);
    let (mut found, mut looked) = (Vec::with_capacity(limit), 0);
    loop {
        let rows = scan(tx, &leading, filter.order, behind, step).await?;
        let exhausted = rows.len() < step;
        for row in rows {
            let place = row.get::<_, &[u8]>(0).try_into().map(Cursor);
            let place = place.map_err(|_| StorageError::Corrupt("a place in a list".into()))?;
            behind = Some(place);
            looked += 1;
            let request: DocumentRequest = decode(&row, 1)?;
            if filter.order == ListOrder::Oldest && filter.made_before.is_some_and(|before| request.created_at >= before) {
                // Only younger ones follow.
                return Ok(Page {
                    requests: found,
                    next: None,
                });
            }
            if filter.fits(&request, now) {
                found.push(request);
            }
            if found.len() == limit || looked == PAGE_LOOK {
                return Ok(Page {
                    requests: found,
                    next: behind,
                });
            }
        }
        if exhausted {
            return Ok(Page {
                requests: found,
                next: None,
            });
        }
    }
}

async fn scan(
    tx: &Tx,
    leading: &Leading<'_>,
    order: ListOrder,
    behind: Option<Cursor>,
    limit: usize,
) -> Result<Vec<tokio_postgres::Row>, Failed> {
    let (column, direction, compared) = match order {
        ListOrder::Newest => ("place", "", ">"),
        ListOrder::Oldest => ("place", "DESC", "<"),
        ListOrder::Expiry => ("ends", "", ">"),
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let place = behind.as_ref().map(|cursor| &cursor.0[..]);
    let (table, condition) = match leading {
        Leading::All => ("request", String::new()),
        Leading::Term(_) => ("term JOIN request ON request.id = term.request", "AND term.term = $3".to_owned()),
        Leading::Bytes(column, _) | Leading::Number(column, _) | Leading::Text(column, _) => ("request", format!("AND {column} = $3")),
    };
    let of = if matches!(leading, Leading::Term(_)) { "term" } else { "request" };
    let place_condition = match place {
        Some(_) => format!("{of}.{column} {compared} $1"),
        // Keeps the statement's values in their places, and lets a partial index be used.
        None => format!("{of}.{column} IS NOT NULL AND $1::bytea IS NULL"),
    };
    let sql = format!(
        "SELECT {of}.{column}, request.row FROM {table} WHERE {place_condition} {condition} ORDER BY {of}.{column} {direction} LIMIT $2"
    );
    let mut values: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = vec![&place, &limit];
    match leading {
        Leading::All => {}
        Leading::Term(term) => values.push(term),
        Leading::Bytes(_, bytes) => values.push(bytes),
        Leading::Number(_, number) => values.push(number),
        Leading::Text(_, text) => values.push(text),
    }
    let values: Values<'_> = &values;
    tx.rows(&sql, values).await
}

/// Requests that a person should look at.
pub(super) async fn watched(core: &Core, tx: &Tx, watch: AttentionKind, limit: usize) -> Result<Vec<DocumentRequest>, Failed> {
    let now = key::ms(core.clock.now());
    let (kind, end) = match watch {
        AttentionKind::Rejected => (key::WATCH_REJECTED, None),
        AttentionKind::PurgedBefore(at) => (key::WATCH_PURGE, Some(key::ms(at))),
        AttentionKind::ExpiringBefore(at) => (key::WATCH_EXPIRY, Some(key::ms(at))),
    };
    let (from, to) = match end {
        None => (vec![kind], vec![kind + 1]),
        Some(end) => ([&[kind], &now[..]].concat(), [&[kind], &end[..]].concat()),
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = "SELECT row FROM request WHERE watch > $1 AND watch < $2 ORDER BY watch LIMIT $3";
    let rows = tx.rows(sql, &[&from, &to, &limit]).await?;
    rows.iter().map(|row| decode(row, 0)).collect()
}
