//! `nightdrop api-key …`: the keys that machines call the API with.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Api, Remote, rows, text};
use super::output::{self, Outcome};
use super::process;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  nightdrop api-key create --name helpdesk --scope requests --team cards --expires-in 90d
  nightdrop api-key list
  nightdrop api-key revoke key_…

Needs NIGHTDROP_URL and NIGHTDROP_TOKEN (a key with the scope admin), or --url and --token-file.")]
pub(super) struct ApiKeys {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Make a key; it is shown this once
    #[command(
        after_help = "Example:\n  nightdrop api-key create --name helpdesk --scope requests --expires-in 90d\n\nScopes: read looks; requests looks, issues and acts; audit reads the audit log; admin may do everything."
    )]
    Create(Create),
    /// List all keys, without their secrets
    #[command(after_help = "Example:\n  nightdrop api-key list")]
    List(List),
    /// End a key; it is dead when this returns
    #[command(after_help = "Example:\n  nightdrop api-key revoke key_…")]
    Revoke(Revoke),
    /// Print what ways back (`return_url`) of this key's requests are signed with
    #[command(
        name = "return-key",
        after_help = "Example:\n  nightdrop api-key return-key\n\nIt belongs to the key in NIGHTDROP_TOKEN, which needs the scope requests. Keep it like the API key."
    )]
    ReturnKey(List),
}

#[derive(Args, Debug)]
struct Create {
    /// What it is for, to know it again
    #[arg(long)]
    name: String,
    /// read, requests, audit or admin; may be repeated
    #[arg(long = "scope", value_name = "SCOPE", required = true)]
    scopes: Vec<String>,
    /// For this team's requests only
    #[arg(long, value_name = "NAME")]
    team: Option<String>,
    /// How long it lives, such as 90d [default: until it is revoked]
    #[arg(long, value_name = "SPAN")]
    expires_in: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args, Debug)]
struct List {
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args, Debug)]
struct Revoke {
    /// The key's id, key_…
    id: String,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(keys: ApiKeys) -> Outcome {
    process::block_on(async {
        match keys.action {
            Action::Create(create) => make(&create).await,
            Action::List(list) => show(&list.remote).await,
            Action::Revoke(revoke) => {
                let key = Api::of(&revoke.remote)?
                    .post(&["api-keys", &revoke.id, "revoke"], &json!({}))
                    .await?;
                if revoke.remote.json() {
                    return output::json(&key);
                }
                output::line(format_args!(
                    "{} was revoked ({})",
                    output::plain(text(&key, "name")),
                    text(&key, "id")
                ))
            }
            Action::ReturnKey(list) => {
                let key = Api::of(&list.remote)?.get(&["return-key"], &[]).await?;
                if list.remote.json() {
                    return output::json(&key);
                }
                output::line(text(&key, "key"))
            }
        }
    })
}

async fn make(create: &Create) -> Outcome {
    let body = json!({"name": create.name, "scopes": create.scopes, "team": create.team, "expires_in": create.expires_in});
    let made = Api::of(&create.remote)?.post(&["api-keys"], &body).await?;
    if create.remote.json() {
        return output::json(&made);
    }
    output::line(format_args!("Key       {}", text(&made["key"], "id")))?;
    output::line(format_args!("Secret    {}", text(&made, "secret")))?;
    output::line(format_args!("Expires   {}", made["key"]["expires_at"].as_str().unwrap_or("never")))?;
    output::line("          The secret is shown this once.")
}

async fn show(remote: &Remote) -> Outcome {
    let answer = Api::of(remote)?.get(&["api-keys"], &[]).await?;
    if remote.json() {
        return output::json(&answer);
    }
    let cells = rows(&answer, "api_keys", |key| {
        let scopes: Vec<&str> = key["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let at = |field| output::minute(text(key, field));
        vec![
            text(key, "id").to_owned(),
            text(key, "name").to_owned(),
            scopes.join(", "),
            text(key, "team").to_owned(),
            at("created_at"),
            at("used_at"),
            at("expires_at"),
            at("revoked_at"),
        ]
    });
    output::table(
        &["KEY", "NAME", "SCOPES", "TEAM", "CREATED (UTC)", "LAST USED", "EXPIRES", "REVOKED"],
        &cells,
    )
}
