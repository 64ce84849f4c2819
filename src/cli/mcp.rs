//! `nightdrop mcp`: the portal as a tool server for assistants, by the Model Context Protocol over standard input and output.
//!
//! * It is one more client of the portal's API ([`Api`]): what its key may not do, no tool does; limits and the audit log are the API's.
//! * No tool takes or returns a byte of a document. A link is returned once, by the call that issues it.
//! * Standard output belongs to the protocol. No log is written: the SDK's own lines would repeat arguments, and an applicant's reference is one.

use clap::Args;
use rmcp::handler::server::tool::schema_for_input;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, JsonObject, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::schemars::{self, JsonSchema};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::{Api, Portal};
use super::output::{Failure, Outcome};
use super::process;

/// What an assistant reads before it uses any tool.
const INSTRUCTIONS: &str = "nightdrop asks a customer for one identity document: a request has a one-time link, and whoever has the link can drop the document. \
     Ask `missing` first for what the provider wants, then `request_document`, and give the link to that customer only. Tell a passcode by another way than the link. \
     Documents cannot be seen or downloaded here; `request_status` tells what became of one.";

#[derive(Args, Debug)]
#[command(after_help = "Example, in the configuration of an assistant:
  {\"mcpServers\": {\"nightdrop\": {\"command\": \"nightdrop\", \"args\": [\"mcp\"],
    \"env\": {\"NIGHTDROP_URL\": \"https://drop-console.example.com\", \"NIGHTDROP_TOKEN\": \"ndk_…\"}}}}

Tools: missing, request_document, list_requests, request_status, revoke. None returns a byte of a document.
Give it a key of its own: nightdrop api-key create --name assistant --scope requests --team NAME
With the scope read alone it can look and not ask. See docs/operations/assistants.md.")]
pub(super) struct Mcp {
    #[command(flatten)]
    portal: Portal,
}

pub(super) fn run(mcp: &Mcp, description: &Value) -> Outcome {
    if mcp.portal.reads_input() {
        return Err(Failure::new(
            "standard input belongs to the protocol: name a file with --token-file",
        ));
    }
    process::block_on(async {
        let server = Server {
            api: Api::at(&mcp.portal)?,
            tools: tools(description),
        };
        let failed = |e: &dyn std::fmt::Display| Failure::new(format!("the assistant's connection failed: {e}"));
        let running = server.serve(rmcp::transport::stdio()).await.map_err(|e| failed(&e))?;
        running.waiting().await.map(|_| ()).map_err(|e| failed(&e))
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Missing {
    /// Name of a configured provider, such as `stripe`.
    provider: String,
    /// The provider's own id of the person, such as `acct_1`.
    applicant: String,
}

/// The fields of the API's own form that an assistant has a use for.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RequestDocument {
    /// Name of a configured provider, such as `stripe`.
    provider: String,
    /// The provider's own id of the person, such as `acct_1`; where `missing` gave an `applicant` with a document, that one.
    applicant: String,
    /// A key of the catalogue, such as `government-id` or `passport`; `missing` gives it.
    document: String,
    /// Some of the document's parts, such as `front`; all of them unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    parts: Option<Vec<String>>,
    /// How long the link lives, such as `90m`, `72h` or `14d`; as configured unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<String>,
    /// Ask the customer for six digits, which a person tells them by another way than the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    passcode: Option<bool>,
    /// The customer's language, a tag such as `de` or `pt-BR`.
    #[serde(skip_serializing_if = "Option::is_none")]
    locale: Option<String>,
    /// A note to the customer, plain text, shown on the page of the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// Have the portal send the link to this e-mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    /// The help desk's case that it belongs to, such as `ZD-4711`.
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<String>,
    /// Any text of 1 to 255 visible ASCII characters. The same key with the same arguments gives the same link again instead of a second one.
    #[serde(skip_serializing)]
    idempotency_key: Option<String>,
}

/// What an assistant gets of a link just issued; pictures and addresses for mail programs are left out.
#[derive(Deserialize, Serialize, JsonSchema)]
struct IssuedLink {
    id: String,
    /// For the customer alone, returned this once: whoever has it can drop the document.
    url: String,
    /// Returned this once. Tell it by another way than the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    passcode: Option<String>,
    /// `replaced` in the answer to a repetition: the code of the first answer opens the link no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    passcode_state: Option<String>,
    expires_at: String,
    /// Ready words for the customer, with the link.
    message: ReadyWords,
    /// `queued` when the link is on its way by e-mail, `failed` when it could not be queued.
    #[serde(skip_serializing_if = "Option::is_none")]
    mail: Option<String>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
struct ReadyWords {
    subject: String,
    body: String,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListRequests {
    /// One of awaiting, receiving, received, forwarding, awaiting_confirmation, needs_attention, confirmed, rejected, purging, purged, expired, revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    /// Name of a configured provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    /// The provider's own id of the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    applicant: Option<String>,
    /// Issued longer ago than this, such as `36h` or `7d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    older_than: Option<String>,
    /// Assigned to this agent, `agt_…`, to `me` (the agent who made the key of this server), or to `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    assigned: Option<String>,
    /// `newest` first unless given; `oldest` first; or by `expiry`: requests whose link can still be used, the one that ends soonest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    sort: Option<String>,
    /// `next_cursor` of the page before, in the same order.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    /// At most so many, 1 to 200.
    #[serde(default = "page")]
    #[schemars(range(min = 1, max = 200))]
    limit: u16,
}

/// Rows that an assistant reads at a time unless it asks for more.
fn page() -> u16 {
    20
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct One {
    /// The request's id, `req_…`.
    id: String,
}

struct Server {
    api: Api,
    tools: Vec<Tool>,
}

impl Server {
    async fn call(&self, name: &str, given: JsonObject) -> Outcome<Option<Value>> {
        let api = &self.api;
        let answer = match name {
            "missing" => {
                let asked: Missing = read(given)?;
                api.post(&["providers", &asked.provider, "missing"], &json!({ "applicant": asked.applicant }))
                    .await?
            }
            "request_document" => {
                let asked: RequestDocument = read(given)?;
                let body = write(&asked)?;
                let issued = match &asked.idempotency_key {
                    Some(key) => api.post_once(&["requests"], &body, key).await?,
                    None => api.post(&["requests"], &body).await?,
                };
                write(&serde_json::from_value::<IssuedLink>(issued).map_err(|e| unfit(&e))?)?
            }
            // The search takes its filter in the body: an applicant's reference stands in no address.
            "list_requests" => api.post(&["requests", "search"], &write(&read::<ListRequests>(given)?)?).await?,
            "request_status" => api.get(&["requests", &read::<One>(given)?.id], &[]).await?,
            "revoke" => api.post(&["requests", &read::<One>(given)?.id, "revoke"], &json!({})).await?,
            _ => return Ok(None),
        };
        Ok(Some(answer))
    }
}

fn read<T: DeserializeOwned>(given: JsonObject) -> Outcome<T> {
    serde_json::from_value(Value::Object(given)).map_err(|e| Failure::new(format!("the arguments do not fit the tool's schema: {e}")))
}

fn write(value: &impl Serialize) -> Outcome<Value> {
    serde_json::to_value(value).map_err(|e| unfit(&e))
}

fn unfit(error: &serde_json::Error) -> Failure {
    Failure::new(format!(
        "the portal's answer cannot be read ({error}): is it of the same version as this program?"
    ))
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("nightdrop", crate::version::VERSION))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(&self, _: Option<PaginatedRequestParams>, _: RequestContext<RoleServer>) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tools.clone()))
    }

    /// What failed is an answer that the assistant can read and act on, not an error of the protocol.
    async fn call_tool(&self, call: CallToolRequestParams, _: RequestContext<RoleServer>) -> Result<CallToolResponse, ErrorData> {
        match self.call(&call.name, call.arguments.unwrap_or_default()).await {
            Ok(Some(answer)) => Ok(CallToolResult::structured(answer).into()),
            Ok(None) => Err(ErrorData::invalid_params("there is no such tool", None)),
            Err(failure) => Ok(CallToolResult::error(vec![ContentBlock::text(failure.to_string())]).into()),
        }
    }
}

/// `description` is the API's own, whose schemas say what comes back.
fn tools(description: &Value) -> Vec<Tool> {
    let looks = || ToolAnnotations::new().read_only(true);
    let answer = |name: &str| match inline(&description["components"]["schemas"][name], description) {
        Value::Object(schema) => schema.into(),
        _ => JsonObject::default().into(),
    };
    vec![
        tool::<Missing>(
            "missing",
            "What a provider still wants of an applicant: documents of the catalogue, with parts and reasons.",
        )
        .with_raw_output_schema(answer("MissingList"))
        .with_annotations(looks()),
        tool::<RequestDocument>(
            "request_document",
            "Ask a customer for one document: issues a request with its one-time link. The link is returned this once.",
        )
        .with_output_schema::<IssuedLink>()
        .with_annotations(ToolAnnotations::new().read_only(false).destructive(false)),
        tool::<ListRequests>(
            "list_requests",
            "List requests by state, provider, applicant or whom they are assigned to, newest first unless `sort` says otherwise.",
        )
        .with_raw_output_schema(answer("RequestPage"))
        .with_annotations(looks()),
        tool::<One>(
            "request_status",
            "One request: the state of its link, what became of the document, and everything that happened to it.",
        )
        .with_raw_output_schema(answer("Request"))
        .with_annotations(looks()),
        tool::<One>(
            "revoke",
            "Withdraw the link of a request for ever. It cannot be undone; a new request can be issued.",
        )
        .with_raw_output_schema(answer("Request"))
        .with_annotations(ToolAnnotations::new().read_only(false).destructive(true).idempotent(true)),
    ]
}

fn tool<T: JsonSchema + 'static>(name: &'static str, about: &'static str) -> Tool {
    Tool::new(name, about, schema_for_input::<T>().unwrap_or_default())
}

/// A schema that stands alone: each reference into the API's description is replaced by what it leads to.
fn inline(schema: &Value, description: &Value) -> Value {
    match schema {
        Value::Object(fields) => match fields.get("$ref").and_then(Value::as_str) {
            Some(reference) => inline(
                description.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Null),
                description,
            ),
            None => fields
                .iter()
                .map(|(name, value)| (name.clone(), inline(value, description)))
                .collect(),
        },
        Value::Array(items) => items.iter().map(|item| inline(item, description)).collect(),
        other => other.clone(),
    }
}
