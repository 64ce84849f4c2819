//! What can be checked afterwards: the audit log with its chain, and deletion receipts with their signatures.

use actix_web::http::header::ACCEPT;
use actix_web::{HttpRequest, HttpResponse};
use data_encoding::HEXLOWER;
use serde::Serialize;
use utoipa::ToSchema;

use crate::crypto::receipt;
use crate::domain::id::RequestId;
use crate::domain::receipt::SignedReceipt;
use crate::http::context::State;
use crate::http::error::Problem;
use crate::http::extract::path::Id;
use crate::http::extract::query::Query;
use crate::http::staff::auth::Call;
use crate::http::staff::permission::{Audit, Read};
use crate::http::staff::shapes::{AssuranceClassWord, DocumentIdText, HashText, PurgeCauseWord, RequestIdText};
use crate::http::staff::view::request::{self as view, instant};
use crate::workflow::query::{audit, requests};

use super::Answer;

const PAGE: u16 = 100;
const PAGE_MAX: u16 = 1_000;

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

fn receipt_view(signed: SignedReceipt) -> ReceiptView {
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
