//! Administration: the portal's state, API keys.

use maud::{Markup, html};

use crate::domain::agent::{Agent, ApiKey, Scope};
use crate::http::error::Problem;
use crate::http::extract::form::Form;
use crate::http::staff::console::frame::{self, Place};
use crate::http::staff::console::widgets::{Field, Input, Notice, copyable, notice, refusal, tabs, when};
use crate::http::staff::view::portal::{Provider, Status, Vault};

pub(crate) fn overview(
    agent: &Agent,
    status: &Status,
    vault: &Vault,
    providers: &[Provider],
    steps_hidden: bool,
    done: Option<Notice>,
    problem: Option<&Problem>,
) -> Markup {
    let body = html! {
        h1 { "Admin" }
        (tabs("/admin"))
        (notice(done))
        @if status.clock_suspect {
            form.notice.bad method="post" action="/admin/clock" {
                @if status.clock == "behind" {
                    p { strong { "The clock was set back. " } "The portal does not believe it: time goes on from before, and so do retries, expiries and purges. Look at the machine’s time and put it right if it is wrong; this notice then goes by itself. If it is right now, say so: time goes slower until both agree." }
                } @else {
                    p { strong { "The clock jumped ahead. " } "The portal does not believe it: time goes on from before, and purging by deadline is suspended. Look at the machine’s time and put it right if it is wrong; this notice then goes by itself. If it is right now, say so: whatever it says is overdue will be destroyed." }
                }
                button.plain { "The time is right" }
            }
        }
        div.columns {
            (vault_card(vault, problem))
            section.card {
                h2 { "Erasure" }
                p { span.chip.(class_tone(&status.assurance.class)) { "Class " (status.assurance.class) } " on " (status.assurance.file_system) }
                ul.quiet { @for reason in &status.assurance.reasons { li { (reason) } } }
                dl.facts {
                    dt { "Room for" } dd { (status.slots_free) " more submissions" }
                    dt { "Uploads now" } dd { (status.uploads_running) }
                    dt { "Version" } dd { (status.version) ", commit " (status.commit) ", data layout " (status.layout) }
                }
            }
        }
        section.card {
            h2 { "Providers" }
            @if providers.is_empty() { (no_provider()) } @else { (provider_table(providers)) }
            @if providers.iter().any(|p| p.kind == "sandbox") { p.notice.warn { strong { "A sandbox is no provider. " } "It takes documents and answers as one, on this machine, and nobody looks at them. Never use it for real documents." } }
            p.quiet { a href="/docs" { "How providers are set up, and what their answers mean" } }
        }
        @if steps_hidden { form method="post" action="/first-steps" { p.quiet { button.link name="show" value="yes" { "Show the first steps on the overview again" } } } }
    };
    frame::page(agent, Place::Admin, "Admin", body)
}

/// What to do where nothing can be asked for yet.
fn no_provider() -> Markup {
    html! {
        p { strong { "None is configured, so no document can be asked for. " } "Add your provider’s table to nightdrop.toml and start the portal again, such as:" }
        pre { "[providers.stripe]\nkind = \"stripe\"\napi_key_file = \"secrets/stripe\"" }
        p { "To try the whole way before there is a contract, use the sandbox. It runs inside the portal, and nothing leaves this machine:" }
        pre { "[providers.sandbox]\nkind = \"sandbox\"" }
    }
}

fn class_tone(class: &str) -> &'static str {
    match class {
        "A" | "B" => "good",
        _ => "bad",
    }
}

fn vault_card(vault: &Vault, problem: Option<&Problem>) -> Markup {
    html! {
        section.card {
            h2 { "Vault" }
            p { @if vault.absent { span.chip.bad { "Not here" } " The key’s private half was not handed to the portal. No document is taken." } @else if vault.locked { span.chip.bad { "Locked" } " Documents are taken and none is forwarded." } @else { span.chip.good { "Open" } " Documents are forwarded." } }
            dl.facts {
                @for key in &vault.keys {
                    dt.mono { (key.id.get(..8).unwrap_or_default()) "…" }
                    dd { (key.state) ", " (key.suite) @if let Some(protection) = key.protection { ", " (protection) } span.quiet { " · " (key.live_documents) " documents" } }
                }
            }
            @if vault.locked && !vault.absent {
                (refusal(problem.filter(|p| p.fields.is_empty())))
                form method="post" action="/admin/unlock" {
                    (Field::new("passphrase", "Passphrase").input("password", "", problem, Input { autocomplete: "off", ..Input::default() }))
                    div.actions { button.primary { "Unlock" } }
                }
            }
        }
    }
}

fn provider_table(providers: &[Provider]) -> Markup {
    html! {
        table.rows {
            thead { tr { th scope="col" { "Name" } th scope="col" { "Kind" } th scope="col" { "Sending" } th scope="col" { "Counts as confirmed" } th scope="col" { "Says what is missing" } } }
            tbody {
                @for provider in providers {
                    tr {
                        td.head { (provider.name) @if provider.kind == "sandbox" { " " span.chip.busy { "Sandbox" } } }
                        td data-label="Kind" { a href={ "/docs/providers/" (provider.kind) } { (provider.kind) } }
                        td data-label="Sending" {
                            @if provider.by_hand { span.chip.calm { "By hand" } } @else if provider.paused { span.chip.bad { "Paused after failures" } } @else { span.chip.good { "Ready" } }
                        }
                        td data-label="Confirmed" { @if provider.confirm == "verdict" { "at its verdict" } @else { "when it took the bytes" } }
                        td data-label="Says what is missing" { @if provider.lists_missing { "yes" } @else { "no" } }
                    }
                }
            }
        }
    }
}

pub(crate) fn keys(agent: &Agent, all: &[ApiKey], typed: &Form, done: Option<Notice>, problem: Option<&Problem>) -> Markup {
    let lives = [
        ("", "Until it is revoked"),
        ("30d", "30 days"),
        ("90d", "90 days"),
        ("365d", "1 year"),
    ]
    .map(|(v, l)| (v.to_owned(), l.to_owned()));
    let chosen = typed.all("scope");
    let body = html! {
        h1 { "Admin" }
        (tabs("/admin/keys"))
        (notice(done))
        @if all.is_empty() { p.empty { "There is no API key yet." } } @else {
            table.rows {
                thead { tr { th scope="col" { "Name" } th scope="col" { "Scopes" } th scope="col" { "Made" } th scope="col" { "Ends" } th scope="col" { "Last used" } th scope="col" { span.hidden { "Action" } } } }
                tbody {
                    @for key in all {
                        tr {
                            td.head { (key.name) @if key.revoked_at.is_some() { " " span.chip.dim { "Revoked" } } }
                            td data-label="Scopes" { (key.scopes.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(", ")) @if let Some(team) = &key.team { br; span.quiet { "team " (team) } } }
                            td data-label="Made" { (when(key.created_at)) }
                            td data-label="Ends" { @if let Some(at) = key.expires_at { (when(at)) } @else { "never" } }
                            td data-label="Last used" { @if let Some(at) = key.used_at { (when(at)) } @else { "never" } }
                            td { @if key.revoked_at.is_none() { a href={ "/admin/keys/" (key.id) "/revoke" } { "Revoke…" span.hidden { " " (key.name) } } } }
                        }
                    }
                }
            }
        }
        form.card.narrow method="post" action="/admin/keys" {
            h2 { "Make an API key" }
            (refusal(problem))
            (Field::new("name", "Name").hint("Which system will use it.").input("text", typed.text("name"), problem, Input { longest: Some(100), ..Input::default() }))
            fieldset.field {
                legend { "Scopes" }
                @for scope in Scope::ALL { label.tick { input type="checkbox" name="scope" value=(scope.as_str()) checked[chosen.iter().any(|c| c == scope.as_str())]; (scope_words(scope)) } }
                @if let Some((_, fix)) = problem.and_then(|p| p.fields.iter().find(|(f, _)| f == "scopes")) { p.fault { "This " (fix) "." } }
            }
            (Field::new("team", "Team").hint("Sees and issues for this team only. Empty: for all of them.").input("text", typed.text("team"), problem, Input { required: false, longest: Some(64), ..Input::default() }))
            (Field::new("expires_in", "It lives").select(&lives, typed.text("expires_in"), problem))
            div.actions { button.primary { "Make the key" } }
        }
    };
    frame::page(agent, Place::Admin, "API keys", body)
}

fn scope_words(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => "read: see requests, ask what is missing",
        Scope::Requests => "requests: issue and act, includes read",
        Scope::Audit => "audit: read the log",
        Scope::Admin => "admin: everything",
    }
}

pub(crate) fn key_made(agent: &Agent, key: &ApiKey, secret: &str) -> Markup {
    let body = html! {
        div.outside {
            h1 { "The key is ready" }
            p.notice.good role="status" { strong { "Shown for ten minutes. " } "Put it into the other system’s secret store now." }
            div.card { (copyable("secret", &key.name, secret, true)) }
            p { a.button.primary href="/admin/keys" { "To the keys" } }
        }
    };
    frame::page(agent, Place::Admin, "The key is ready", body)
}

pub(crate) fn revoke(agent: &Agent, key: &ApiKey) -> Markup {
    let body = html! {
        div.outside {
            h1 { "Revoke this key?" }
            div.card {
                p { strong { "API key “" (key.name) "”" } }
                p { "Whatever uses it is refused from that instant on." }
                form.actions method="post" action={ "/admin/keys/" (key.id) "/revoke" } { button.danger autofocus { "Revoke the key" } a.button.plain href="/admin/keys" { "Cancel" } }
            }
        }
    };
    frame::page(agent, Place::Admin, "Revoke this key?", body)
}
