//! `nightdrop status`, `first-steps`, `provider`, `dispatch` and `clock`: a running portal as a whole, and what it speaks to.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Api, Remote, rows, text};
use super::output::{self, Outcome};
use super::process;

#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  nightdrop status\n\nNeeds NIGHTDROP_URL and NIGHTDROP_TOKEN (a key with the scope admin), or --url and --token-file."
)]
pub(super) struct Status {
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  nightdrop provider list\n\nNeeds NIGHTDROP_URL and NIGHTDROP_TOKEN, or --url and --token-file.")]
pub(super) struct Providers {
    #[command(subcommand)]
    action: ProviderAction,
}

#[derive(Subcommand, Debug)]
enum ProviderAction {
    /// List the configured providers
    #[command(after_help = "Example:\n  nightdrop provider list --json")]
    List(Status),
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  nightdrop dispatch list --request req_…
  nightdrop dispatch resend msg_…

Needs NIGHTDROP_URL and NIGHTDROP_TOKEN (a key with the scope admin), or --url and --token-file.")]
pub(super) struct Dispatches {
    #[command(subcommand)]
    action: DispatchAction,
}

#[derive(Subcommand, Debug)]
enum DispatchAction {
    /// List webhooks and mails, newest first
    #[command(after_help = "Example:\n  nightdrop dispatch list --limit 20")]
    List(DispatchList),
    /// Send a webhook again that was sent or has failed
    #[command(after_help = "Example:\n  nightdrop dispatch resend msg_…")]
    Resend(Resend),
}

#[derive(Args, Debug)]
struct DispatchList {
    /// Those of one request, req_…
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// At most so many, up to 200
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
    limit: u16,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args, Debug)]
struct Resend {
    /// The webhook, msg_…
    id: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  nightdrop clock accept\n\nNeeds NIGHTDROP_URL and NIGHTDROP_TOKEN (a key with the scope admin), or --url and --token-file."
)]
pub(super) struct Clock {
    #[command(subcommand)]
    action: ClockAction,
}

#[derive(Subcommand, Debug)]
enum ClockAction {
    /// Take the machine's present time for right, after a jump; put a wrong time right first
    #[command(after_help = "Example:\n  nightdrop clock accept\n\nSee docs/clock.md.")]
    Accept(Status),
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  nightdrop first-steps list
  nightdrop first-steps done backup

Needs NIGHTDROP_URL and NIGHTDROP_TOKEN (a key with the scope admin), or --url and --token-file.")]
pub(super) struct FirstSteps {
    #[command(subcommand)]
    action: FirstStepAction,
}

#[derive(Subcommand, Debug)]
enum FirstStepAction {
    /// What is still to be done once with a new portal, before real documents come
    #[command(after_help = "Example:\n  nightdrop first-steps list --json")]
    List(Status),
    /// Tick a step off that the portal cannot see: console, mail or backup
    #[command(after_help = "Example:\n  nightdrop first-steps done backup")]
    Done(Step),
    /// Put the list away in the console
    #[command(after_help = "Example:\n  nightdrop first-steps hide")]
    Hide(Status),
    /// Show it again
    #[command(after_help = "Example:\n  nightdrop first-steps show")]
    Show(Status),
}

#[derive(Args, Debug)]
struct Step {
    /// Its name, as the list has it
    step: String,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn first_steps(steps: &FirstSteps) -> Outcome {
    let (remote, change) = match &steps.action {
        FirstStepAction::List(given) => (&given.remote, None),
        FirstStepAction::Done(step) => (&step.remote, Some(json!({ "tick_off": step.step }))),
        FirstStepAction::Hide(given) => (&given.remote, Some(json!({ "hidden": true }))),
        FirstStepAction::Show(given) => (&given.remote, Some(json!({ "hidden": false }))),
    };
    process::block_on(async {
        let api = Api::of(remote)?;
        let list = match change {
            Some(change) => api.post(&["first-steps"], &change).await?,
            None => api.get(&["first-steps"], &[]).await?,
        };
        if remote.json() {
            return output::json(&list);
        }
        let cells = rows(&list, "steps", |step| {
            vec![text(step, "step").to_owned(), text(step, "state").to_owned()]
        });
        output::table(&["STEP", "STATE"], &cells)?;
        match list["hidden"] == true {
            true => output::line("The console does not show them; nightdrop first-steps show"),
            false => Ok(()),
        }
    })
}

pub(super) fn status(status: &Status) -> Outcome {
    process::block_on(async {
        let state = Api::of(&status.remote)?.get(&["status"], &[]).await?;
        render(&state, status.remote.json())
    })
}

pub(super) fn clock(clock: &Clock) -> Outcome {
    let ClockAction::Accept(given) = &clock.action;
    process::block_on(async {
        let state = Api::of(&given.remote)?.post(&["clock", "accept"], &json!({})).await?;
        render(&state, given.remote.json())
    })
}

fn render(state: &Value, json: bool) -> Outcome {
    if json {
        return output::json(state);
    }
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let erasing = &state["assurance"];
    let vault = if state["locked"] == true {
        "locked: nothing is forwarded"
    } else {
        "open"
    };
    output::line(format_args!(
        "Version   {}, commit {}, data layout {}",
        text(state, "version"),
        text(state, "commit"),
        number(&state["layout"])
    ))?;
    output::line(format_args!("Vault     {vault}"))?;
    output::line(format_args!("Clock     {}", text(state, "clock")))?;
    output::line(format_args!(
        "Erasing   class {} on {}",
        text(erasing, "class"),
        text(erasing, "file_system")
    ))?;
    output::line(format_args!(
        "Room      {}",
        output::count(number(&state["slots_free"]), "submission", "submissions")
    ))?;
    output::line(format_args!(
        "Backup    {}",
        state["last_backup"].as_str().unwrap_or("none that the portal knows of")
    ))?;
    output::line(format_args!("Uploads   {} running", number(&state["uploads_running"])))?;
    for (name, requests) in state["requests"].as_object().into_iter().flatten() {
        output::line(format_args!(
            "  {name:<22} {}",
            output::count(number(requests), "request", "requests")
        ))?;
    }
    Ok(())
}

pub(super) fn providers(providers: &Providers) -> Outcome {
    let ProviderAction::List(given) = &providers.action;
    process::block_on(async {
        let answer = Api::of(&given.remote)?.get(&["providers"], &[]).await?;
        if given.remote.json() {
            return output::json(&answer);
        }
        let yes = |value: &Value| if value == true { "yes" } else { "no" }.to_owned();
        let cells = rows(&answer, "providers", |provider| {
            vec![
                text(provider, "name").to_owned(),
                text(provider, "kind").to_owned(),
                text(provider, "confirm").to_owned(),
                yes(&provider["lists_missing"]),
                yes(&provider["by_hand"]),
                yes(&provider["paused"]),
            ]
        });
        output::table(&["PROVIDER", "KIND", "CONFIRMED BY", "LISTS MISSING", "BY HAND", "PAUSED"], &cells)
    })
}

pub(super) fn dispatches(dispatches: &Dispatches) -> Outcome {
    process::block_on(async {
        match &dispatches.action {
            DispatchAction::List(list) => show(list).await,
            DispatchAction::Resend(resend) => {
                let again = Api::of(&resend.remote)?
                    .post(&["dispatches", &resend.id, "resend"], &json!({}))
                    .await?;
                if resend.remote.json() {
                    return output::json(&again);
                }
                output::line(format_args!("{} waits to be sent ({})", text(&again, "id"), text(&again, "kind")))
            }
        }
    })
}

async fn show(list: &DispatchList) -> Outcome {
    let limit = list.limit.to_string();
    let mut query = vec![("limit", limit.as_str())];
    query.extend(list.request.as_deref().map(|id| ("request", id)));
    let answer = Api::of(&list.remote)?.get(&["dispatches"], &query).await?;
    if list.remote.json() {
        return output::json(&answer);
    }
    let cells = rows(&answer, "dispatches", |dispatch| {
        vec![
            text(dispatch, "id").to_owned(),
            text(dispatch, "state").to_owned(),
            text(dispatch, "kind").to_owned(),
            text(dispatch, "channel").to_owned(),
            output::minute(text(dispatch, "created_at")),
            dispatch["attempts"].as_u64().unwrap_or_default().to_string(),
            text(dispatch, "last_answer").to_owned(),
            text(dispatch, "request").to_owned(),
        ]
    });
    output::table(
        &[
            "DISPATCH",
            "STATE",
            "KIND",
            "CHANNEL",
            "CREATED (UTC)",
            "FAILED TRIES",
            "LAST ANSWER",
            "REQUEST",
        ],
        &cells,
    )?;
    if answer["next_cursor"].is_string() {
        return output::line("There are more; raise --limit.");
    }
    Ok(())
}
