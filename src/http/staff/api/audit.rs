//! What can be checked afterwards: the audit log with its chain, and deletion receipts with their signatures.

use actix_web::http::header::ACCEPT;
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures_util::stream;
use serde::Serialize;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};
use utoipa::ToSchema;

use crate::chain::chain;
use crate::crypto::receipt;
use crate::domain::audit::AuditEntry;
use crate::domain::id::RequestId;
use crate::domain::receipt::SignedReceipt;
use crate::http::context::State;
use crate::http::csv::cell;
use crate::http::error::Problem;
use crate::http::extract::path::Id;
use crate::http::extract::query::Query;
use crate::http::staff::auth::Call;
use crate::http::staff::permission::{Admin, Audit, Read};
use crate::http::staff::shapes::{AssuranceClassWord, AuditFormatWord, DocumentIdText, HashText, PurgeCauseWord, RequestIdText};
use crate::http::staff::view::request::{self as view, instant};
use crate::workflow::purge;
use crate::workflow::query::audit::{self, AuditPart};
use crate::workflow::query::requests;

use super::Answer;

const PAGE: u16 = 100;
const PAGE_MAX: u16 = 1_000;
/// Lines of JSON, or a table.
const FORMATS: [&str; 2] = ["jsonl", "csv"];
const AUDIT_HEAD: &str = "number,at,action,actor,request,detail,hash\r\n";

/// A page of the log, oldest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditPage {
    pub entries: Vec<view::EntryView>,
    /// Ask with it for what comes behind; absent when this page reached the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_after: Option<u64>,
}

/// Proof that a submission was destroyed.
#[derive(Serialize, ToSchema)]
#[schema(as = DeletionReceipt)]
pub(crate) struct ReceiptView {
    pub number: u64,
    #[schema(value_type = RequestIdText)]
    pub request: String,
    #[schema(value_type = DocumentIdText)]
    pub document: String,
    /// confirmed, rejected, deadline, agent, lost or infected.
    #[schema(value_type = PurgeCauseWord)]
    pub cause: String,
    /// Assurance class of the erasure: A, B or C.
    #[schema(value_type = AssuranceClassWord)]
    pub class: String,
    pub method: String,
    pub parts: u8,
    #[schema(format = DateTime)]
    pub received_at: String,
    /// The secret was gone: unreadable from here on.
    #[schema(format = DateTime)]
    pub erased_at: String,
    #[schema(format = DateTime)]
    pub purged_at: String,
    /// Hash of the receipt before, hex; zeros for the first.
    #[schema(value_type = HashText)]
    pub previous: String,
    #[schema(value_type = HashText)]
    pub hash: String,
    /// The whole receipt with signer and signature, for `nightdrop receipt verify`.
    pub signed: String,
}

/// A page of receipts, oldest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReceiptPage {
    pub receipts: Vec<ReceiptView>,
    /// Ask with it for what comes behind; absent when this page reached the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_after: Option<u64>,
}

/// Who signs deletion receipts.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReceiptKey {
    /// Ed25519, 32 bytes in hex.
    #[schema(value_type = HashText)]
    pub public_key: String,
}

/// The audit log. Each entry is chained to the one before, so that an export verifies offline.
#[utoipa::path(get, path = "/audit", operation_id = "list_audit_entries", tag = "audit",
    params(("after" = Option<u64>, Query, description = "Entries with a higher number; 0 unless given."),
        ("limit" = Option<u16>, Query, description = "1 to 1000, 100 unless given.", minimum = 1, maximum = 1000)),
    responses((status = 200, description = "A page.", body = AuditPage)), security(("api_key" = ["audit"])))]
pub(crate) async fn entries(_: Call<Audit>, state: State, request: HttpRequest) -> Answer {
    let (after, limit) = Query::read(&request, &["after", "limit"], |query| {
        Ok((query.number("after", 0, u64::MAX), query.number("limit", 1, PAGE_MAX)))
    })?;
    let (after, limit) = (after.unwrap_or(0), usize::from(limit.unwrap_or(PAGE)));
    let found = audit::after(&state.portal, after, limit).await?;
    let next_after = found.last().filter(|_| found.len() == limit).map(|e| e.sequence);
    Ok(HttpResponse::Ok().json(AuditPage {
        entries: found.iter().map(view::entry).collect(),
        next_after,
    }))
}

/// The receipt of the newest purge, as it was signed then; `receipt.altered` when the stored one does not verify. With `Accept: text/plain`, the signed text alone.
#[utoipa::path(get, path = "/requests/{id}/deletion-receipt", operation_id = "get_deletion_receipt", tag = "requests", params(("id" = RequestIdText, Path, description = "The request.")),
    responses((status = 200, description = "The receipt.", content((ReceiptView = "application/json"), (String = "text/plain")))),
    security(("api_key" = ["read"])))]
pub(crate) async fn deletion_receipt(Call { with: Id(id), .. }: Call<Read, Id<RequestId>>, state: State, request: HttpRequest) -> Answer {
    let (_, receipt) = requests::receipt(&state.portal, id).await?;
    let receipt = receipt.ok_or_else(Problem::no_receipt_yet)?;
    let wants_text = request
        .headers()
        .get(ACCEPT)
        .and_then(|a| a.to_str().ok())
        .is_some_and(|a| a.trim_start().starts_with("text/plain"));
    if wants_text {
        return Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(receipt.text));
    }
    Ok(HttpResponse::Ok().json(receipt_view(receipt)))
}

/// Entries of one request or of a time, oldest first, as a file: one JSON object a line, or a table. Never in memory as a whole. `nightdrop audit verify` reads the
/// JSON lines of a whole log; of a part it cannot know what is missing.
#[utoipa::path(get, path = "/audit/export", operation_id = "export_audit", tag = "audit",
    params(("request" = Option<RequestIdText>, Query, description = "Of this request, also when it was forgotten."),
        ("from" = Option<String>, Query, description = "At this instant (RFC 3339) or on this day (UTC), or later.", example = "2026-11-27"),
        ("to" = Option<String>, Query, description = "Before this instant, or to the end of this day (UTC).", example = "2026-11-30T12:00:00Z"),
        ("format" = Option<AuditFormatWord>, Query, description = "`jsonl` unless given.")),
    responses((status = 200, description = "The entries.", content((view::EntryView = "application/x-ndjson"), (String = "text/csv")))), security(("api_key" = ["audit"])))]
pub(crate) async fn export(_: Call<Audit>, state: State, request: HttpRequest) -> Answer {
    const INSTANT: &str = "an instant such as 2026-11-27T12:00:00Z, or a day such as 2026-11-27";
    let (part, table) = Query::read(&request, &["request", "from", "to", "format"], |query| {
        let part = AuditPart {
            request: query.parsed("request", RequestId::parse, "the id of a request"),
            from: query.parsed("from", |text| instant_or_day(text, false), INSTANT),
            to: query.parsed("to", |text| instant_or_day(text, true), INSTANT),
        };
        let formats = |word: &str| FORMATS.iter().position(|known| *known == word);
        let format = query.parsed("format", formats, "jsonl or csv");
        Ok((part, format == Some(1)))
    })?;
    let start = part.begin(&state.portal).await?;
    let head = if table { AUDIT_HEAD } else { "" };
    let lines = stream::try_unfold((state, part, start, Some(head)), move |(state, part, number, head)| async move {
        let found = part.step(&state.portal, number).await.map_err(|error| {
            tracing::error!(error = %chain(&error), "the audit export was cut off");
            std::io::Error::other("the log cannot be read")
        })?;
        let mut text = head.unwrap_or_default().to_owned();
        let Some((entries, last)) = found else {
            // A table without lines still has its head; nothing follows.
            return Ok::<_, std::io::Error>((!text.is_empty()).then(|| (Bytes::from(text), (state, part, u64::MAX, None))));
        };
        for entry in &entries {
            text.push_str(&if table { row(entry) } else { line(entry)? });
        }
        Ok(Some((Bytes::from(text), (state, part, last, None))))
    });
    let (kind, name) = match table {
        true => (
            "text/csv; charset=utf-8; header=present",
            "attachment; filename=\"nightdrop-audit.csv\"",
        ),
        false => ("application/x-ndjson", "attachment; filename=\"nightdrop-audit.jsonl\""),
    };
    Ok(HttpResponse::Ok()
        .content_type(kind)
        .insert_header(("Content-Disposition", name))
        .streaming(lines))
}

fn line(entry: &AuditEntry) -> Result<String, std::io::Error> {
    let text = serde_json::to_string(&view::entry(entry)).map_err(std::io::Error::other)?;
    Ok(text + "\n")
}

fn row(entry: &AuditEntry) -> String {
    let event = &entry.event;
    let detail: Vec<_> = event.detail.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let cells = [
        entry.sequence.to_string(),
        instant(event.at),
        event.action.to_string(),
        event.actor.to_string(),
        event.request.map(|request| request.to_string()).unwrap_or_default(),
        detail.join(" "),
        HEXLOWER.encode(&entry.hash),
    ];
    let cells: Vec<_> = cells.iter().map(|text| cell(text)).collect();
    format!("{}\r\n", cells.join(","))
}

/// An instant of RFC 3339, or the beginning (or the end) of a day in UTC.
fn instant_or_day(text: &str, end: bool) -> Option<OffsetDateTime> {
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return Some(at);
    }
    let day = Date::parse(text, format_description!("[year]-[month]-[day]")).ok()?;
    let day = if end { day.next_day()? } else { day };
    Some(day.midnight().assume_utc())
}

/// All deletion receipts that are kept, oldest first, those of forgotten requests among them. As they are stored: `nightdrop receipt verify` checks one.
#[utoipa::path(get, path = "/deletion-receipts", operation_id = "list_deletion_receipts", tag = "requests",
    params(("after" = Option<u64>, Query, description = "Receipts with a higher number; 0 unless given."),
        ("limit" = Option<u16>, Query, description = "1 to 1000, 100 unless given.", minimum = 1, maximum = 1000)),
    responses((status = 200, description = "A page.", body = ReceiptPage)), security(("api_key" = ["admin"])))]
pub(crate) async fn deletion_receipts(_: Call<Admin>, state: State, request: HttpRequest) -> Answer {
    let (after, limit) = Query::read(&request, &["after", "limit"], |query| {
        Ok((query.number("after", 0, u64::MAX), query.number("limit", 1, PAGE_MAX)))
    })?;
    let (after, limit) = (after.unwrap_or(0), usize::from(limit.unwrap_or(PAGE)));
    let found = purge::receipts(&state.portal, after, limit).await?;
    let next_after = found.last().filter(|_| found.len() == limit).map(|signed| signed.receipt.number);
    Ok(HttpResponse::Ok().json(ReceiptPage {
        receipts: found.into_iter().map(receipt_view).collect(),
        next_after,
    }))
}

pub(super) fn receipt_view(signed: SignedReceipt) -> ReceiptView {
    let receipt = &signed.receipt;
    let erasure = &receipt.erasure;
    ReceiptView {
        number: receipt.number,
        request: erasure.request.to_string(),
        document: erasure.document.to_string(),
        cause: erasure.cause.clone(),
        class: erasure.class.clone(),
        method: erasure.method.clone(),
        parts: erasure.parts,
        received_at: instant(erasure.received_at),
        erased_at: instant(erasure.erased_at),
        purged_at: instant(erasure.purged_at),
        previous: HEXLOWER.encode(&receipt.previous),
        hash: HEXLOWER.encode(&receipt.hash),
        signed: signed.text,
    }
}

/// The public key that deletion receipts are signed with. Keep a copy elsewhere: a receipt is worth what its signer's key is.
#[utoipa::path(get, path = "/receipt-key", operation_id = "get_receipt_key", tag = "requests",
    responses((status = 200, description = "The key.", body = ReceiptKey)), security(("api_key" = ["read"])))]
pub(crate) async fn receipt_key(_: Call<Read>, state: State) -> Answer {
    Ok(HttpResponse::Ok().json(ReceiptKey {
        public_key: HEXLOWER.encode(&receipt::public_key(&state.portal.secrets)),
    }))
}
