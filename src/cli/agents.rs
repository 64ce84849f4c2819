//! `nightdrop agent …`: the people who sign in to the console. Through the API of a running portal.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::client::{Api, Remote, rows, text};
use super::output::{self, Failure, Outcome};
use super::{ask, process};

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  nightdrop agent add --email ana@example.com --name Ana --role agent
  nightdrop agent list
  nightdrop agent reset-password ana@example.com --password-file pw

Needs NIGHTDROP_URL and NIGHTDROP_TOKEN (a key with the scope admin), or --url and --token-file.")]
pub(super) struct Agents {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Add somebody who may sign in
    #[command(after_help = "Example:\n  nightdrop agent add --email ana@example.com --name Ana --role agent --password-file pw")]
    Add(Add),
    /// List everybody
    #[command(after_help = "Example:\n  nightdrop agent list --json")]
    List(List),
    /// End somebody's access at once
    #[command(after_help = "Example:\n  nightdrop agent disable ana@example.com")]
    Disable(One),
    /// Give somebody another role or other teams; every session of theirs ends
    #[command(after_help = "Example:\n  nightdrop agent change ana@example.com --role manual-handler --team cards --team loans")]
    Change(Change),
    /// For somebody who has lost every second factor: the password alone opens the account again
    #[command(
        name = "reset-second-factor",
        after_help = "Example:\n  nightdrop agent reset-second-factor ana@example.com"
    )]
    ResetSecondFactor(One),
    /// Give somebody a new password; every session of theirs ends
    #[command(name = "reset-password", after_help = "Example:\n  nightdrop agent reset-password ana@example.com")]
    ResetPassword(Reset),
}

#[derive(Args, Debug)]
struct Add {
    /// The sign-in name
    #[arg(long)]
    email: String,
    /// The name that others see
    #[arg(long)]
    name: String,
    /// agent, admin, auditor or manual-handler
    #[arg(long, default_value = "agent")]
    role: String,
    /// Whose requests they see; may be repeated, and the first one gets what they issue
    #[arg(long, value_name = "NAME")]
    team: Vec<String>,
    /// A file with the password, `-` for standard input [default: asked for]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args, Debug)]
struct Change {
    /// agent, admin, auditor or manual-handler
    #[arg(long)]
    role: String,
    /// Whose requests they see; may be repeated, and the first one gets what they issue [default: as before]
    #[arg(long, value_name = "NAME")]
    team: Vec<String>,
    #[command(flatten)]
    one: One,
}

#[derive(Args, Debug)]
struct List {
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args, Debug)]
struct One {
    /// E-mail address or id (agt_…)
    who: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args, Debug)]
struct Reset {
    /// A file with the new password, `-` for standard input [default: asked for]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    one: One,
}

pub(super) fn run(agents: Agents) -> Outcome {
    process::block_on(async {
        match agents.action {
            Action::Add(add) => {
                let api = Api::of(&add.remote)?;
                let password = password(add.password_file.as_deref())?;
                let body = json!({"email": add.email, "name": add.name, "role": add.role, "teams": add.team, "password": &*password});
                let agent = api.post(&["agents"], &body).await?;
                render(&agent, "was added", add.remote.json())
            }
            Action::List(list) => show(&list.remote).await,
            Action::Disable(one) => {
                let api = Api::of(&one.remote)?;
                let id = find(&api, &one.who).await?;
                let agent = api.post(&["agents", &id, "disable"], &json!({})).await?;
                render(&agent, "can no longer sign in", one.remote.json())
            }
            Action::Change(change) => {
                let api = Api::of(&change.one.remote)?;
                let id = find(&api, &change.one.who).await?;
                let teams = Some(change.team).filter(|t| !t.is_empty());
                let agent = api
                    .post(&["agents", &id, "role"], &json!({"role": change.role, "teams": teams}))
                    .await?;
                render(&agent, "was changed, and every session has ended", change.one.remote.json())
            }
            Action::ResetSecondFactor(one) => {
                let api = Api::of(&one.remote)?;
                let id = find(&api, &one.who).await?;
                let agent = api.post(&["agents", &id, "reset-second-factor"], &json!({})).await?;
                render(
                    &agent,
                    "signs in with the password alone, and every session has ended",
                    one.remote.json(),
                )
            }
            Action::ResetPassword(reset) => {
                let api = Api::of(&reset.one.remote)?;
                let id = find(&api, &reset.one.who).await?;
                let password = password(reset.password_file.as_deref())?;
                let agent = api.post(&["agents", &id, "password"], &json!({"password": &*password})).await?;
                render(&agent, "has a new password, and every session has ended", reset.one.remote.json())
            }
        }
    })
}

fn password(file: Option<&Path>) -> Outcome<Zeroizing<String>> {
    match file {
        Some(file) => ask::from_file(file),
        None if ask::somebody() => ask::new_secret("The password (15 characters or more; a few words are fine)"),
        None => Err(Failure::new(
            "nobody can be asked for the password: name a file that holds it with --password-file",
        )),
    }
}

fn render(agent: &Value, what: &str, json: bool) -> Outcome {
    if json {
        output::json(agent)
    } else {
        output::line(format_args!(
            "{} {what} ({})",
            output::plain(text(agent, "email")),
            text(agent, "id")
        ))
    }
}

async fn show(remote: &Remote) -> Outcome {
    let answer = Api::of(remote)?.get(&["agents"], &[]).await?;
    if remote.json() {
        return output::json(&answer);
    }
    let cells = rows(&answer, "agents", |a| {
        let teams: Vec<&str> = a["teams"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let teams = if teams.is_empty() { "-".to_owned() } else { teams.join(", ") };
        let factor = if a["second_factor"] == true { "yes" } else { "no" };
        let cell = |field| text(a, field).to_owned();
        vec![
            cell("id"),
            cell("email"),
            cell("name"),
            cell("role"),
            teams,
            factor.to_owned(),
            output::minute(text(a, "created_at")),
            output::minute(text(a, "disabled_at")),
        ]
    });
    output::table(
        &["ID", "E-MAIL", "NAME", "ROLE", "TEAMS", "SECOND FACTOR", "SINCE (UTC)", "DISABLED"],
        &cells,
    )
}

/// The id behind an e-mail address.
async fn find(api: &Api, who: &str) -> Outcome<String> {
    if who.starts_with("agt_") {
        return Ok(who.to_owned());
    }
    let email = who.trim().to_lowercase();
    let answer = api.get(&["agents"], &[]).await?;
    let mut all = answer["agents"].as_array().into_iter().flatten();
    let found = all.find(|a| a["email"] == email.as_str()).and_then(|a| a["id"].as_str());
    found
        .map(str::to_owned)
        .ok_or_else(|| Failure::new(format!("there is no agent {}; see `nightdrop agent list`", output::plain(who))))
}
