//! The `webhooks` of the document: every outgoing event, as receivers get it, with the headers of Standard Webhooks.

use serde_json::json;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem, Paths, PathsBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{Object, ObjectBuilder, Schema, Type};
use utoipa::openapi::{ContentBuilder, KnownFormat, Ref, RefOr, Required, ResponseBuilder, SchemaFormat};

use crate::domain::dispatch::EventType;

/// The members of `data` that every event about a request has or may have.
const OF_A_REQUEST: &[&str] = &["request", "provider", "document", "ticket"];

/// What else stands in the data of an event.
fn more(event: EventType) -> &'static [&'static str] {
    match event {
        EventType::RequestReissued => &["generation"],
        EventType::RequestNeedsAttention | EventType::DocumentRejected => &["reason"],
        EventType::DocumentPurged => &["cause", "receipt"],
        EventType::MailFailed => &["kind"],
        EventType::AuditCheckpoint => &["head", "hash", "at", "signed_by", "signature"],
        // Most say nothing but what happened.
        _ => &[],
    }
}

fn text(about: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(about))
}

/// One member of `data`.
fn member(name: &str) -> RefOr<Schema> {
    let of = |builder: ObjectBuilder| RefOr::T(Schema::Object(builder.build()));
    match name {
        "request" => RefOr::Ref(Ref::from_schema_name("RequestId")),
        "provider" => RefOr::Ref(Ref::from_schema_name("ProviderName")),
        "document" => RefOr::Ref(Ref::from_schema_name("DocumentKind")),
        "ticket" => RefOr::Ref(Ref::from_schema_name("Ticket")),
        "cause" => RefOr::Ref(Ref::from_schema_name("PurgeCause")),
        "hash" => RefOr::Ref(Ref::from_schema_name("Hash")),
        "generation" => of(text("Number of the request's link, from 1.").pattern(Some("^[0-9]+$"))),
        "receipt" => of(text("Number of the deletion receipt.").pattern(Some("^[0-9]+$"))),
        "kind" => of(text("Which mail: `mail.link`, `mail.reminder` and the like.")),
        "head" => of(text("Number of the newest entry.").pattern(Some("^[0-9]+$"))),
        "at" => of(text("When it was signed.")),
        "signed_by" => of(text("Ed25519 public key in hex.").pattern(Some("^[0-9a-f]{64}$"))),
        "signature" => of(text("Ed25519 signature in hex.").pattern(Some("^[0-9a-f]{128}$"))),
        _ => of(ObjectBuilder::new()
            .schema_type(Type::Object)
            .property("code", text("Stable, for machines.").build())
            .required("code")),
    }
}

fn body(event: EventType) -> Object {
    let sequence = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .description(Some("Number of the audit entry: events of one request have growing ones."))
        .minimum(Some(1));
    let mut data = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("sequence", sequence.build())
        .required("sequence");
    let mut example = json!({"sequence": 4711});
    let about = if event == EventType::AuditCheckpoint {
        &[][..]
    } else {
        OF_A_REQUEST
    };
    for name in about.iter().chain(more(event)) {
        data = data.property(*name, member(name));
    }
    if event != EventType::AuditCheckpoint {
        data = data.required("request");
        example["request"] = json!("req_02m0b3gk5t1q9h8v7n6c5x4z3a");
        example["provider"] = json!("stripe");
        example["document"] = json!("passport");
    }
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property(
            "type",
            ObjectBuilder::new()
                .schema_type(Type::String)
                .enum_values(Some([event.as_str()]))
                .build(),
        )
        .property(
            "timestamp",
            text("When it happened.")
                .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
                .build(),
        )
        .property("data", data.build())
        .required("type")
        .required("timestamp")
        .required("data")
        .examples([json!({"type": event.as_str(), "timestamp": "2026-01-02T03:04:05Z", "data": example})])
        .build()
}

fn header(name: &str, about: &str, form: ObjectBuilder) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::True)
        .description(Some(about))
        .schema(Some(form.build()))
}

fn item(event: EventType) -> PathItem {
    let form = |pattern: &str| ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
    let said = |about: &str| ResponseBuilder::new().description(about).build();
    let name = event.as_str().replace('.', "_");
    let content = ContentBuilder::new().schema(Some(RefOr::T(Schema::Object(body(event)))));
    let operation = OperationBuilder::new()
        .operation_id(Some(format!("on_{name}")))
        .tag("webhooks")
        // Receivers know the portal by its signature alone.
        .securities(Some([]))
        .summary(Some(event.sentence()))
        .description(Some(format!(
            "{}. Told at least once; events of one request come in their order. Signed as Standard Webhooks says: HMAC-SHA256 over `webhook-id.webhook-timestamp.body`.",
            event.sentence()
        )))
        .parameter(header("webhook-id", "The same for every try: remember it to notice a repeat.", form("^msg_[0-9a-hjkmnp-tv-z]{26}$")))
        .parameter(header("webhook-timestamp", "Seconds since 1970 of this try.", form("^[0-9]+$")))
        .parameter(header("webhook-signature", "One signature for each secret, with a space between.", form("^v1,[0-9A-Za-z+/=]+( v1,[0-9A-Za-z+/=]+)*$")))
        .request_body(Some(
            RequestBodyBuilder::new()
                .content("application/json", content.build())
                .required(Some(Required::True))
                .build(),
        ))
        .response("2XX", said("Taken."))
        .response("410", said("Not wanted: it is not tried again."))
        .response("default", said("Anything else: it is tried again, for three days."));
    PathItem::new(HttpMethod::Post, operation)
}

/// All of them, by their type.
pub(super) fn webhooks() -> Paths {
    let all = EventType::ALL.iter();
    all.fold(PathsBuilder::new(), |paths, event| paths.path(event.as_str(), item(*event)))
        .build()
}
