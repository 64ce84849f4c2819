//! `nightdrop request …` and `nightdrop missing`: what an agent does, from a shell or a script.

use std::io::{self, Read};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::client::{Api, Remote, rows, text};
use super::output::{self, Failure, Outcome};
use super::process;

/// Bytes that are read of a note: what its longest text may take.
const NOTE_LONGEST: u64 = 8_000;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  nightdrop request new --provider stripe --applicant acct_1 --document government-id --ticket ZD-4711
  nightdrop request list --state needs_attention
  nightdrop request reissue req_… --expires-in 24h --json

Needs NIGHTDROP_URL and NIGHTDROP_TOKEN, or --url and --token-file.")]
pub(super) struct Requests {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Issue a request; its link is shown this once
    #[command(
        after_help = "Example:\n  nightdrop request new --provider stripe --applicant acct_1 --document passport --expires-in 24h --passcode"
    )]
    New(New),
    /// List requests, newest first unless --sort says otherwise
    #[command(
        after_help = "Example:\n  nightdrop request list --state awaiting --provider stripe --limit 20\n  nightdrop request list --sort expiry"
    )]
    List(List),
    /// Show one request with everything that happened to it
    #[command(after_help = "Example:\n  nightdrop request show req_…")]
    Show(One),
    /// Let the link live longer
    #[command(after_help = "Example:\n  nightdrop request extend req_… --expires-in 24h")]
    Extend(Later),
    /// Make a new link; the old one is dead at once
    #[command(after_help = "Example:\n  nightdrop request reissue req_… --expires-in 24h --passcode")]
    Reissue(Again),
    /// Withdraw the link
    #[command(after_help = "Example:\n  nightdrop request revoke req_…")]
    Revoke(One),
    /// Send a document again that needs attention
    #[command(after_help = "Example:\n  nightdrop request retry req_…")]
    Retry(One),
    /// Destroy the held document now, delivered or not
    #[command(after_help = "Example:\n  nightdrop request purge req_…")]
    Purge(One),
    /// Say that a document was uploaded by hand in the provider's own dashboard; it is purged
    #[command(name = "mark-uploaded", after_help = "Example:\n  nightdrop request mark-uploaded req_…")]
    MarkUploaded(One),
    /// Give a fresh passcode on the same link; it is shown this once
    #[command(after_help = "Example:\n  nightdrop request passcode req_…")]
    Passcode(One),
    /// Write a note for colleagues; it is read from standard input unless given
    #[command(after_help = "Example:\n  nightdrop request note req_… < note.txt")]
    Note(NewNote),
    /// Say who is to see to it: an agent, or nobody
    #[command(
        override_usage = "nightdrop request assign [OPTIONS] <ID> <AGENT|--to-me|--nobody>",
        after_help = "Examples:\n  nightdrop request assign req_… agt_…\n  nightdrop request assign req_… --to-me\n  nightdrop request assign req_… --nobody"
    )]
    Assign(Assign),
}

#[derive(Args, Debug)]
struct New {
    /// A configured provider's name
    #[arg(long, value_name = "NAME")]
    provider: String,
    /// The provider's own id of the person
    #[arg(long, value_name = "REF")]
    applicant: String,
    /// A key of the catalogue, such as government-id
    #[arg(long, value_name = "KIND")]
    document: String,
    /// One of the kind's parts, such as front; may be repeated [default: all]
    #[arg(long = "part", value_name = "PART")]
    parts: Vec<String>,
    #[command(flatten)]
    expiry: Expiry,
    /// Ask the applicant for six digits that you tell by telephone
    #[arg(long)]
    passcode: bool,
    /// The applicant's language, such as de or pt-BR
    #[arg(long, value_name = "TAG")]
    locale: Option<String>,
    /// A note to the applicant
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    /// Send the link there by e-mail (needs [mail] in nightdrop.toml)
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// Remind by e-mail a day before the link expires
    #[arg(long, requires = "email")]
    remind: bool,
    /// Where the applicant may go back to, at one of hosted.return_hosts
    #[arg(long, value_name = "URL")]
    return_url: Option<String>,
    /// The help desk's case that it belongs to, such as ZD-4711; webhooks carry it
    #[arg(long, value_name = "REF")]
    ticket: Option<String>,
    /// A JSON object of your own, kept sealed
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
    /// Repeating the command with the same key gives the same link again
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args, Debug)]
struct Expiry {
    /// How long the link lives, such as 90m, 72h or 14d [default: as configured]
    #[arg(long, value_name = "SPAN")]
    expires_in: Option<String>,
    /// Until when, such as 2030-01-31T18:00:00Z
    #[arg(long, value_name = "INSTANT", conflicts_with = "expires_in")]
    expires_at: Option<String>,
}

#[derive(Args, Debug)]
struct List {
    /// awaiting, received, forwarding, needs_attention, purged …
    #[arg(long)]
    state: Option<String>,
    /// What has become of them: rejected, confirmed, undelivered, withdrawn, needs_attention, by_hand …
    #[arg(long)]
    outcome: Option<String>,
    /// Anything at hand: a request's id, a receipt's reference, a ticket, an applicant's reference or its beginning
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["state", "outcome", "provider", "applicant", "agent", "assigned", "older_than", "sort"])]
    find: Option<String>,
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    #[arg(long, value_name = "REF")]
    applicant: Option<String>,
    /// Issued by this agent or API key
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Assigned to this agent, to me (who made the API key), or to none
    #[arg(long, value_name = "WHO")]
    assigned: Option<String>,
    /// Issued longer ago than this, such as 36h or 7d
    #[arg(long, value_name = "SPAN")]
    older_than: Option<String>,
    /// newest, oldest, or expiry: links that can still be used, the one that ends soonest first [default: newest]
    #[arg(long, value_name = "ORDER")]
    sort: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args, Debug)]
struct One {
    /// The request, req_…
    id: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args, Debug)]
struct NewNote {
    /// The request, req_…
    id: String,
    /// 1 to 1,000 characters, seen by everybody on this machine; standard input is not
    text: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args, Debug)]
struct Assign {
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    to: AssignTo,
}

/// One of them.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct AssignTo {
    /// The agent, agt_…; see nightdrop agent list
    agent: Option<String>,
    /// Whoever made the API key
    #[arg(long)]
    to_me: bool,
    /// Nobody any more
    #[arg(long)]
    nobody: bool,
}

#[derive(Args, Debug)]
struct Later {
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    expiry: Expiry,
}

#[derive(Args, Debug)]
struct Again {
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    expiry: Expiry,
    /// The new link asks for a passcode [default: as the old one]
    #[arg(long, conflicts_with = "no_passcode")]
    passcode: bool,
    /// The new link asks for none
    #[arg(long)]
    no_passcode: bool,
    /// Repeating the command with the same key gives the same link again
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  nightdrop missing --provider stripe --applicant acct_1\n\nNot every provider has such a list: onfido and manual have none, http only with a [missing] table.\nASK WITH is the reference for `nightdrop request new`, where it is another than the one given here.\n\nNeeds NIGHTDROP_URL and NIGHTDROP_TOKEN, or --url and --token-file."
)]
pub(super) struct Missing {
    /// A configured provider's name
    #[arg(long, value_name = "NAME")]
    provider: String,
    /// The provider's own id of the person
    #[arg(long, value_name = "REF")]
    applicant: String,
    #[command(flatten)]
    remote: Remote,
}

/// The fields of an object that have a value.
struct Body(Map<String, Value>);

impl Body {
    fn new() -> Self {
        Self(Map::new())
    }

    fn with(mut self, name: &str, value: Option<impl Into<Value>>) -> Self {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
        self
    }

    fn until(self, expiry: Expiry) -> Self {
        self.with("expires_in", expiry.expires_in).with("expires_at", expiry.expires_at)
    }

    fn done(self) -> Value {
        Value::Object(self.0)
    }
}

pub(super) fn run(requests: Requests) -> Outcome {
    process::block_on(async {
        match requests.action {
            Action::New(new) => issue(new).await,
            Action::List(list) => show_list(list).await,
            Action::Show(one) => show(&one).await,
            Action::Extend(later) => {
                let body = Body::new().until(later.expiry).done();
                act(&later.one, "extend", &body).await
            }
            Action::Reissue(again) => reissue(again).await,
            Action::Revoke(one) => act(&one, "revoke", &json!({})).await,
            Action::Retry(one) => act(&one, "retry", &json!({})).await,
            Action::Purge(one) => act(&one, "purge", &json!({})).await,
            Action::MarkUploaded(one) => act(&one, "mark-uploaded", &json!({})).await,
            Action::Passcode(one) => passcode(&one).await,
            Action::Note(new) => note(new).await,
            Action::Assign(Assign { one, to }) => {
                // Neither an agent nor oneself: nobody.
                let agent = to.agent.or_else(|| to.to_me.then(|| "me".to_owned()));
                act(&one, "assign", &json!({ "agent": agent })).await
            }
        }
    })
}

async fn issue(new: New) -> Outcome {
    let metadata = new.metadata.map(|text| match serde_json::from_str(&text) {
        Ok(Value::Object(object)) => Ok(Value::Object(object)),
        _ => Err(Failure::new("--metadata must be a JSON object, such as '{\"case\": 7}'")),
    });
    let body = Body::new()
        .with("provider", Some(new.provider))
        .with("applicant", Some(new.applicant))
        .with("document", Some(new.document))
        .with("parts", (!new.parts.is_empty()).then_some(new.parts))
        .until(new.expiry)
        .with("passcode", new.passcode.then_some(true))
        .with("locale", new.locale)
        .with("message", new.message)
        .with("email", new.email)
        .with("remind", new.remind.then_some(true))
        .with("return_url", new.return_url)
        .with("ticket", new.ticket.clone())
        .with("metadata", metadata.transpose()?)
        .done();
    let api = Api::of(&new.remote)?;
    let issued = match &new.idempotency_key {
        Some(key) => api.post_once(&["requests"], &body, key).await?,
        None => api.post(&["requests"], &body).await?,
    };
    handed_out(&issued, new.ticket.as_deref(), new.remote.json())
}

async fn reissue(again: Again) -> Outcome {
    let passcode = match (again.passcode, again.no_passcode) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    };
    let body = Body::new().until(again.expiry).with("passcode", passcode).done();
    let api = Api::of(&again.one.remote)?;
    let path = ["requests", &again.one.id, "reissue"];
    let issued = match &again.idempotency_key {
        Some(key) => api.post_once(&path, &body, key).await?,
        None => api.post(&path, &body).await?,
    };
    handed_out(&issued, None, again.one.remote.json())
}

/// The link, shown this once.
fn handed_out(issued: &Value, ticket: Option<&str>, json: bool) -> Outcome {
    if json {
        return output::json(issued);
    }
    output::line(format_args!("Request   {}", text(issued, "id")))?;
    if let Some(ticket) = ticket {
        output::line(format_args!("Ticket    {}", output::plain(ticket)))?;
    }
    output::line(format_args!("Link      {}", text(issued, "url")))?;
    if let Some(passcode) = issued["passcode"].as_str() {
        output::line(format_args!("Passcode  {passcode}   (tell it by another way than the link)"))?;
    }
    output::line(format_args!("Expires   {}", text(issued, "expires_at")))?;
    output::line("          Link and passcode are shown this once.")?;
    if issued["mail"].is_string() {
        output::line("          It is on its way by e-mail.")?;
    }
    match issued["message"]["body"].as_str() {
        Some(body) => output::write(&format!("\nA message to send:\n\n{body}")),
        None => Ok(()),
    }
}

async fn show_list(list: List) -> Outcome {
    let api = Api::of(&list.remote)?;
    let mut found: Vec<Value> = Vec::new();
    let mut cursor: Option<String> = None;
    while found.len() < list.limit {
        let page = (list.limit - found.len()).min(200);
        let body = Body::new()
            .with("state", list.state.clone())
            .with("outcome", list.outcome.clone())
            .with("find", list.find.clone())
            .with("provider", list.provider.clone())
            .with("applicant", list.applicant.clone())
            .with("agent", list.agent.clone())
            .with("assigned", list.assigned.clone())
            .with("older_than", list.older_than.clone())
            .with("sort", list.sort.clone())
            .with("cursor", cursor.take())
            .with("limit", Some(page))
            .done();
        // The search takes its filter in the body: an applicant's reference stands in no address.
        let answer = api.post(&["requests", "search"], &body).await?;
        found.extend(answer["requests"].as_array().into_iter().flatten().cloned());
        cursor = answer["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    let answer = json!({"requests": found, "next_cursor": cursor});
    if list.remote.json() {
        return output::json(&answer);
    }
    let cells = rows(&answer, "requests", |r| {
        let cell = |field| text(r, field).to_owned();
        let at = |field| output::minute(text(r, field));
        vec![
            cell("id"),
            cell("state"),
            cell("provider"),
            cell("document"),
            cell("applicant"),
            at("created_at"),
            at("expires_at"),
        ]
    });
    output::table(
        &[
            "REQUEST",
            "STATE",
            "PROVIDER",
            "DOCUMENT",
            "APPLICANT",
            "CREATED (UTC)",
            "LINK EXPIRES",
        ],
        &cells,
    )?;
    if cursor.is_some() {
        output::line("There are more; raise --limit.")
    } else {
        Ok(())
    }
}

async fn show(one: &One) -> Outcome {
    let request = Api::of(&one.remote)?.get(&["requests", &one.id], &[]).await?;
    render(&request, one.remote.json())
}

async fn act(one: &One, verb: &str, body: &Value) -> Outcome {
    let request = Api::of(&one.remote)?.post(&["requests", &one.id, verb], body).await?;
    render(&request, one.remote.json())
}

async fn note(new: NewNote) -> Outcome {
    let text = match new.text {
        Some(text) => text,
        None if new.remote.reads_input() => return Err(Failure::new("standard input holds the API key; give the note as TEXT")),
        None => standard_input()?,
    };
    let one = One {
        id: new.id,
        remote: new.remote,
    };
    act(&one, "notes", &json!({ "text": text.trim() })).await
}

fn standard_input() -> Outcome<String> {
    let mut text = String::new();
    io::stdin()
        .take(NOTE_LONGEST)
        .read_to_string(&mut text)
        .map_err(|e| Failure::new(format!("standard input cannot be read: {e}")))?;
    Ok(text)
}

fn render(request: &Value, json: bool) -> Outcome {
    if json {
        return output::json(request);
    }
    let formerly = request["formerly_assigned"]["name"].as_str();
    let formerly = formerly.map(|name| format!("nobody (formerly {name})"));
    let assigned = formerly.as_deref().unwrap_or_else(|| text(&request["assigned"], "name"));
    let rows = [
        ("Request", text(request, "id")),
        ("State", text(request, "state")),
        ("Provider", text(request, "provider")),
        ("Applicant", text(request, "applicant")),
        ("Ticket", text(request, "ticket")),
        ("Document", text(request, "document")),
        ("Assigned", assigned),
        ("Link", text(&request["link"], "state")),
        ("Opened", text(&request["link"], "opened_at")),
        ("Expires", text(request, "expires_at")),
        ("Received", text(request, "received_at")),
        ("Outcome", text(request, "outcome")),
        ("Purged", text(request, "purged_at")),
    ];
    for (name, value) in rows.into_iter().filter(|(_, value)| *value != "-") {
        output::line(format_args!("{name:<10}{}", output::plain(value)))?;
    }
    let problem = [&request["rejection"], &request["delivery"]["last_problem"]]
        .into_iter()
        .find(|p| p.is_object());
    if let Some(problem) = problem {
        output::line(format_args!(
            "Problem   {} ({})",
            output::plain(text(problem, "text")),
            text(problem, "code")
        ))?;
    }
    for note in request["notes"].as_array().into_iter().flatten() {
        output::line(format_args!("Note      {}  {}", text(note, "at"), text(note, "author")))?;
        for line in note["text"].as_str().unwrap_or("(changed outside the portal)").lines() {
            output::line(format_args!("          {}", output::plain(line)))?;
        }
    }
    for moment in request["timeline"].as_array().into_iter().flatten() {
        output::line(format_args!(
            "  {}  {:<24} {}",
            text(moment, "at"),
            text(moment, "action"),
            text(moment, "actor")
        ))?;
    }
    Ok(())
}

async fn passcode(one: &One) -> Outcome {
    let fresh = Api::of(&one.remote)?.post(&["requests", &one.id, "passcode"], &json!({})).await?;
    if one.remote.json() {
        return output::json(&fresh);
    }
    output::line(format_args!(
        "Passcode  {}   (shown this once; tell it by another way than the link)",
        text(&fresh, "passcode")
    ))
}

pub(super) fn missing(missing: Missing) -> Outcome {
    process::block_on(async {
        let api = Api::of(&missing.remote)?;
        let answer = api
            .post(
                &["providers", &missing.provider, "missing"],
                &json!({"applicant": missing.applicant}),
            )
            .await?;
        if missing.remote.json() {
            return output::json(&answer);
        }
        let cells = rows(&answer, "missing", |m| {
            let parts: Vec<&str> = m["parts"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            vec![
                text(m, "document").to_owned(),
                parts.join(", "),
                text(m, "provider_name").to_owned(),
                text(m, "reason").to_owned(),
                m["applicant"].as_str().unwrap_or_default().to_owned(),
            ]
        });
        if cells.is_empty() {
            return output::line(format_args!("Nothing is missing, says {}.", output::plain(&missing.provider)));
        }
        let last = if cells.iter().all(|row| row[4].is_empty()) { 4 } else { 5 };
        let cells: Vec<Vec<String>> = cells.into_iter().map(|row| row.into_iter().take(last).collect()).collect();
        output::table(
            &["DOCUMENT", "PARTS", "THE PROVIDER CALLS IT", "REASON", "ASK WITH"][..last],
            &cells,
        )
    })
}
