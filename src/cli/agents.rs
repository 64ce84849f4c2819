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
  nightdrop agent invite --email ana@example.com --name Ana --role agent
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
    /// Invite somebody: a one-time link, by mail where it is configured, sets their own password or passkey
    #[command(after_help = "Example:\n  nightdrop agent invite --email ana@example.com --name Ana --role agent")]
    Invite(Invite),
    /// Make a new one-time link for somebody; the one before stops working
    #[command(name = "new-link", after_help = "Example:\n  nightdrop agent new-link ana@example.com")]
    NewLink(One),
    /// Add somebody with a password, which the first sign-in must replace
    #[command(after_help = "Example:\n  nightdrop agent add --email ana@example.com --name Ana --role agent --password-file pw")]
    Add(Add),
    /// List everybody
    #[command(after_help = "Example:\n  nightdrop agent list --json")]
    List(List),
    /// Let somebody in again who was disabled
    #[command(after_help = "Example:\n  nightdrop agent enable ana@example.com")]
    Enable(One),
    /// Delete somebody for good: sessions and the API keys that they made end, the audit log keeps the name
    #[command(after_help = "Example:\n  nightdrop agent delete ana@example.com --yes")]
    Delete(Delete),
    /// List where somebody is signed in
    #[command(after_help = "Example:\n  nightdrop agent sessions ana@example.com")]
    Sessions(One),
    /// End one session of somebody's
    #[command(
        name = "end-session",
        after_help = "Example:\n  nightdrop agent end-session ana@example.com --session 5f0c1b7a9e3d2c4b6a8f0e1d"
    )]
    EndSession(EndSession),
    /// End somebody's access at once; `enable` gives it back
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
    /// Give somebody a new password, which the next sign-in must replace; every session of theirs ends
    #[command(name = "reset-password", after_help = "Example:\n  nightdrop agent reset-password ana@example.com")]
    ResetPassword(Reset),
}

/// Somebody new.
#[derive(Args, Debug)]
struct Person {
    /// The sign-in name, and where an invitation is sent
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
}

impl Person {
    fn body(&self) -> Value {
        json!({"email": self.email, "name": self.name, "role": self.role, "teams": self.team})
    }
}

#[derive(Args, Debug)]
struct Invite {
    #[command(flatten)]
    person: Person,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args, Debug)]
struct Delete {
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    one: One,
}

#[derive(Args, Debug)]
struct EndSession {
    /// Which, as `agent sessions` names it
    #[arg(long, value_name = "ID")]
    session: String,
    #[command(flatten)]
    one: One,
}

#[derive(Args, Debug)]
struct Add {
    #[command(flatten)]
    person: Person,
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
                let mut body = add.person.body();
                body["password"] = json!(&*password);
                let agent = api.post(&["agents"], &body).await?;
                render(&agent, "was added", add.remote.json())
            }
            Action::Invite(invite) => {
                let api = Api::of(&invite.remote)?;
                invited(&api.post(&["agents", "invite"], &invite.person.body()).await?, invite.remote.json())
            }
            Action::NewLink(one) => {
                let api = Api::of(&one.remote)?;
                let id = find(&api, &one.who).await?;
                invited(&api.post(&["agents", &id, "invite"], &json!({})).await?, one.remote.json())
            }
            Action::Enable(one) => {
                let api = Api::of(&one.remote)?;
                let id = find(&api, &one.who).await?;
                let agent = api.post(&["agents", &id, "enable"], &json!({})).await?;
                render(&agent, "can sign in again, as before", one.remote.json())
            }
            Action::Delete(delete) => {
                let api = Api::of(&delete.one.remote)?;
                let id = find(&api, &delete.one.who).await?;
                sure(&delete)?;
                let agent = api.post(&["agents", &id, "delete"], &json!({})).await?;
                render(&agent, "was deleted; the audit log keeps the name", delete.one.remote.json())
            }
            Action::Sessions(one) => {
                let api = Api::of(&one.remote)?;
                let id = find(&api, &one.who).await?;
                sessions(&api.get(&["agents", &id, "sessions"], &[]).await?, one.remote.json())
            }
            Action::EndSession(end) => {
                let api = Api::of(&end.one.remote)?;
                let id = find(&api, &end.one.who).await?;
                let left = api.post(&["agents", &id, "end-session"], &json!({"session": end.session})).await?;
                sessions(&left, end.one.remote.json())
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

/// Deleting cannot be taken back, so it is asked for twice.
fn sure(delete: &Delete) -> Outcome {
    const QUESTION: &str = "Delete this account for good, with the API keys that it made? Disabling ends access as well, and can be undone";
    match (delete.yes, ask::somebody()) {
        (true, _) => Ok(()),
        (false, true) if ask::yes(QUESTION)? => Ok(()),
        (false, true) => Err(Failure::new("nothing was deleted")),
        (false, false) => Err(Failure::new("nobody can be asked whether it is meant: say --yes")),
    }
}

fn invited(answer: &Value, json: bool) -> Outcome {
    if json {
        return output::json(answer);
    }
    let (agent, until) = (&answer["agent"], output::minute(text(answer, "expires_at")));
    let who = output::plain(text(agent, "email"));
    match answer["link"].as_str() {
        None => output::line(format_args!(
            "{who} gets a link by mail, good once, until {until} UTC ({})",
            text(agent, "id")
        )),
        Some(link) => {
            output::line(format_args!(
                "No mail is configured. Hand this link to {who}; it is shown this once, and good once, until {until} UTC:"
            ))?;
            output::line(format_args!("{}", output::plain(link)))
        }
    }
}

fn sessions(answer: &Value, json: bool) -> Outcome {
    if json {
        return output::json(answer);
    }
    let cells = rows(answer, "sessions", |s| {
        let cell = |field| text(s, field).to_owned();
        let minute = |field| output::minute(text(s, field));
        vec![
            cell("session"),
            cell("browser"),
            cell("how"),
            minute("created_at"),
            minute("used_at"),
        ]
    });
    output::table(&["SESSION", "BROWSER", "HOW", "SINCE (UTC)", "USED (UTC)"], &cells)
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
            output::minute(text(a, "signed_in_at")),
            output::minute(text(a, "disabled_at")),
        ]
    });
    output::table(
        &[
            "ID",
            "E-MAIL",
            "NAME",
            "ROLE",
            "TEAMS",
            "SECOND FACTOR",
            "LAST SIGN-IN (UTC)",
            "DISABLED",
        ],
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
