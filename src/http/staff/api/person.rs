//! One person's data over the API: a copy of it, and its erasure with a signed statement. The reference stands in bodies, so that it is in no address and no log.

use actix_web::HttpResponse;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::document::{ApplicantRef, ProviderName};
use crate::domain::id::RequestId;
use crate::domain::statement::{ErasedRequest, Fate, KEPT};
use crate::http::context::State;
use crate::http::error::Problem;
use crate::http::extract::json::Json;
use crate::http::staff::auth::{ApiCaller, Call};
use crate::http::staff::permission::Admin;
use crate::http::staff::shapes::{
    ApplicantText, ErasureWord, HashText, PassedOnWord, PendingWord, ProviderNameText, RequestIdText, UrlText,
};
use crate::http::staff::view::request::{self as view, instant};
use crate::workflow::person::{self, PersonWanted, Who};

use super::Answer;
use super::audit::{ReceiptView, receipt_view};
use super::outgoing::{DispatchView, dispatch_view};

/// Whose data: an applicant by the provider's reference, or whoever a request is for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"applicant": "cus_4711"})))]
pub(crate) struct WhosePerson {
    #[schema(value_type = Option<ApplicantText>)]
    pub applicant: Option<String>,
    /// A request of that person, in the place of the reference.
    #[schema(value_type = Option<RequestIdText>)]
    pub request: Option<String>,
    /// At this provider only; at all of them unless given.
    #[schema(value_type = Option<ProviderNameText>)]
    pub provider: Option<String>,
}

/// What the portal holds of one person, but for documents, links, passcodes and keys, which nobody can take out.
#[derive(Serialize, ToSchema)]
pub(crate) struct PersonExport {
    #[schema(value_type = ApplicantText)]
    pub applicant: String,
    #[schema(format = DateTime)]
    pub exported_at: String,
    pub requests: Vec<PersonRequest>,
    /// There are more requests than one answer holds: erase or ask by provider.
    pub more: bool,
}

/// One request with everything that belongs to it.
#[derive(Serialize, ToSchema)]
pub(crate) struct PersonRequest {
    pub request: view::Request,
    /// What the applicant was told with the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<UrlText>)]
    pub return_url: Option<String>,
    pub deletion_receipts: Vec<ReceiptView>,
    /// Numbers of receipts that were removed or changed in the store after they were signed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub altered_receipts: Vec<u64>,
    /// Webhooks and mails about it of the last 30 days. What a mail said, and to whom it went, is destroyed once it is sent.
    pub dispatches: Vec<DispatchView>,
}

/// What was erased, and what was not yet.
#[derive(Serialize, ToSchema)]
pub(crate) struct PersonErased {
    /// Nothing is left to erase. Otherwise ask again later: what is pending ends by itself within fifteen minutes.
    pub complete: bool,
    pub requests: Vec<ErasedView>,
    /// There are more requests than one run erases: ask again.
    pub more: bool,
    /// What stays of them, in words.
    pub kept: Vec<&'static str>,
    /// What stands in the statement instead of the reference: SHA-256("nightdrop/v1/subject" ‖ 00 ‖ reference), hex.
    #[schema(value_type = HashText)]
    pub subject: String,
    /// The whole statement with signer and signature, for `nightdrop receipt verify`. It is kept nowhere else: keep it.
    pub signed: String,
}

/// What became of one request.
#[derive(Serialize, ToSchema)]
#[schema(as = ErasedRequest)]
pub(crate) struct ErasedView {
    #[schema(value_type = RequestIdText)]
    pub request: String,
    #[schema(value_type = ProviderNameText)]
    pub provider: String,
    #[schema(value_type = ErasureWord)]
    pub state: &'static str,
    /// Why it is not erased yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<PendingWord>)]
    pub pending: Option<&'static str>,
    /// Whether its last document had reached the provider, which then holds it; absent where none was ever received.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<PassedOnWord>)]
    pub passed_on: Option<&'static str>,
    /// Numbers of its deletion receipts.
    pub receipts: Vec<u64>,
}

impl WhosePerson {
    fn wanted(self, caller: &ApiCaller<Admin>) -> Result<PersonWanted, Problem> {
        let who = match (self.applicant, self.request) {
            (Some(applicant), None) => {
                let accepted = "1 to 128 visible ASCII characters without spaces, quotes, slashes, ?, #, %, < and >";
                Who::Applicant(ApplicantRef::parse(&applicant).ok_or_else(|| Problem::field_must("applicant", accepted))?)
            }
            (None, Some(request)) => {
                Who::Of(RequestId::parse(&request).ok_or_else(|| Problem::field_must("request", "the id of a request"))?)
            }
            (None, None) => return Err(Problem::field_must("applicant", "given, or request in its place")),
            (Some(_), Some(_)) => return Err(Problem::field_must("request", "left away where applicant is given")),
        };
        let provider =
            |name: String| ProviderName::parse(&name).ok_or_else(|| Problem::field_must("provider", "the name of a configured provider"));
        Ok(PersonWanted {
            who,
            provider: self.provider.map(provider).transpose()?,
            teams: caller.teams(),
        })
    }
}

/// A copy of one person's data, as article 15 of the GDPR asks for: requests with their states and times, what was asked, notes, receipts, audit entries, webhooks and
/// mails. No document and no secret. The audit log tells that it was taken.
#[utoipa::path(post, path = "/person/export", operation_id = "export_person", tag = "admin", request_body = WhosePerson,
    responses((status = 200, description = "The data; an empty list where there is none.", body = PersonExport),
        (status = 404, description = "`not_found`: there is no such request, or no more.", body = crate::http::staff::view::problem::ProblemSchema,
            content_type = crate::http::error::PROBLEM_JSON)), security(("api_key" = ["admin"])))]
pub(crate) async fn export(
    Call {
        who: caller,
        with: Json(body),
    }: Call<Admin, Json<WhosePerson>>,
    state: State,
) -> Answer {
    let wanted = body.wanted(&caller)?;
    let export = person::export(&state.portal, wanted, caller.actor()).await?;
    let requests = export.requests.into_iter().map(|one| PersonRequest {
        request: view::detail(&one.detail),
        message: one.message,
        return_url: one.return_url,
        deletion_receipts: one.receipts.into_iter().map(receipt_view).collect(),
        altered_receipts: one.altered_receipts,
        dispatches: one.dispatches.iter().map(dispatch_view).collect(),
    });
    Ok(HttpResponse::Ok().json(PersonExport {
        applicant: export.applicant.expose().to_owned(),
        exported_at: instant(export.at),
        requests: requests.collect(),
        more: export.more,
    }))
}

/// Erase one person's data, as article 17 of the GDPR asks for: links are withdrawn, documents destroyed with their receipts, and the requests' rows forgotten. What
/// may be on its way to a provider at this moment waits; what a provider has received is the provider's to erase. The answer holds a signed statement.
#[utoipa::path(post, path = "/person/erase", operation_id = "erase_person", tag = "admin", request_body = WhosePerson,
    responses((status = 200, description = "What was erased; look at `complete`.", body = PersonErased),
        (status = 404, description = "`not_found`: there is no such request, or no more.", body = crate::http::staff::view::problem::ProblemSchema,
            content_type = crate::http::error::PROBLEM_JSON)), security(("api_key" = ["admin"])))]
pub(crate) async fn erase(
    Call {
        who: caller,
        with: Json(body),
    }: Call<Admin, Json<WhosePerson>>,
    state: State,
) -> Answer {
    let wanted = body.wanted(&caller)?;
    let erased = person::erase(&state.portal, wanted, caller.actor()).await?;
    Ok(HttpResponse::Ok().json(PersonErased {
        complete: erased.statement.complete(),
        requests: erased.statement.requests.iter().map(shown).collect(),
        more: erased.statement.more,
        kept: KEPT.to_vec(),
        subject: HEXLOWER.encode(&erased.statement.subject),
        signed: erased.signed,
    }))
}

fn shown(one: &ErasedRequest) -> ErasedView {
    let (state, pending, passed_on, receipts) = match &one.fate {
        Fate::Erased { passed_on, receipts } => ("erased", None, passed_on.map(|passed_on| passed_on.as_str()), receipts.clone()),
        Fate::Pending(why) => ("pending", Some(why.as_str()), None, Vec::new()),
    };
    ErasedView {
        request: one.request.to_string(),
        provider: one.provider.to_string(),
        state,
        pending,
        passed_on,
        receipts,
    }
}
