//! Administration of people: who may sign in, how they are invited, and what ends their access.

use maud::{Markup, html};
use time::OffsetDateTime;

use crate::domain::agent::{Agent, ApiKey, PasswordKind, Role, Team};
use crate::http::error::Problem;
use crate::http::extract::form::Form;
use crate::http::staff::console::account::page::entry_words;
use crate::http::staff::console::frame::{self, Place};
use crate::http::staff::console::widgets::{Field, Input, Notice, ago, copyable, new_password, notice, refusal, tabs, when};
use crate::workflow::sign_in::OpenSession;

fn teams_words(agent: &Agent) -> String {
    agent.teams.iter().map(Team::as_str).collect::<Vec<_>>().join(" ")
}

/// How somebody new gets in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// By a link with which they set their own password or passkey.
    Invitation,
    /// By a password that the admin tells them.
    Password,
}

/// What the list of people shows.
pub(crate) struct AgentsPage<'a> {
    pub agent: &'a Agent,
    pub all: &'a [Agent],
    /// The fewest characters of a password.
    pub shortest: usize,
    /// Whether the portal sends mail.
    pub mail: bool,
    pub now: OffsetDateTime,
    pub typed: &'a Form,
    pub done: Option<Notice>,
    /// What was wrong with which of the two forms.
    pub problem: Option<(Way, &'a Problem)>,
}

pub(crate) fn agents(page: &AgentsPage<'_>) -> Markup {
    let of = |way| page.problem.filter(|(which, _)| *which == way).map(|(_, problem)| problem);
    let by_password = of(Way::Password);
    let body = html! {
        h1 { "Admin" }
        (tabs("/admin/agents"))
        (notice(page.done))
        table.rows {
            thead { tr { th scope="col" { "Name" } th scope="col" { "E-mail" } th scope="col" { "Role" } th scope="col" { "Last sign-in" } th scope="col" { span.hidden { "Action" } } } }
            tbody { @for other in page.all { (agent_row(other, page.now)) } }
        }
        form.card.narrow method="post" action="/admin/agents/invite" {
            h2 { "Invite somebody" }
            (refusal(of(Way::Invitation)))
            (who_fields(page, Way::Invitation))
            p.quiet {
                @if page.mail { "They get a link by e-mail, good once and for three days, and set a password or a passkey of their own." }
                @else { "You get a link, shown once and good for three days. Hand it over: they set a password or a passkey of their own with it." }
            }
            div.actions { button.primary { "Invite" } }
        }
        details.narrow open[by_password.is_some()] {
            summary { "Add somebody with a password instead" }
            form.card method="post" action="/admin/agents" {
                h2 { "Add with a password" }
                (refusal(by_password))
                (who_fields(page, Way::Password))
                (new_password(page.shortest, by_password))
                p.quiet { "Tell them the password in person. At the first sign-in they must set another one, which you do not know." }
                div.actions { button.primary { "Add" } }
            }
        }
    };
    frame::page(page.agent, Place::Admin, "Agents", body)
}

fn agent_row(other: &Agent, now: OffsetDateTime) -> Markup {
    html! {
        tr {
            td.head { (other.name) " " (chip(other, now)) }
            td data-label="E-mail" { (other.email) }
            td data-label="Role" { (other.role.as_str()) @if !other.teams.is_empty() { br; span.quiet { (teams_words(other)) } } }
            td data-label="Last sign-in" { @if let Some(at) = other.signed_in_at { (when(at)) } @else { "never" } }
            td { a href={ "/admin/agents/" (other.id) } { "Change" span.hidden { " " (other.name) } } }
        }
    }
}

fn chip(other: &Agent, now: OffsetDateTime) -> Markup {
    let waits = other.invitation.as_ref().filter(|_| !other.can_sign_in());
    html! {
        @if other.disabled_at.is_some() { span.chip.dim { "Disabled" } }
        @else if let Some(invitation) = waits {
            @if now < invitation.expires_at { span.chip.calm { "Invited" } } @else { span.chip.bad { "Invitation ended" } }
        }
        @else if !other.can_sign_in() { span.chip.bad { "Cannot sign in" } }
        @else if other.password_kind == PasswordKind::Temporary { span.chip.busy { "Password from an admin" } }
        @else if !other.factors.any() { span.chip.busy { "Password only" } }
    }
}

/// The two forms stand on one page, so that a field's name is no id there.
fn who_fields(page: &AgentsPage<'_>, way: Way) -> Markup {
    let problem = page.problem.filter(|(which, _)| *which == way).map(|(_, problem)| problem);
    let typed = |name: &str| match page.problem {
        Some((which, _)) if which == way => page.typed.text(name).to_owned(),
        _ => String::new(),
    };
    let id = |name: &'static str| match way {
        Way::Invitation => name.to_owned(),
        Way::Password => format!("added-{name}"),
    };
    html! {
        (Field::new("name", "Name").id(&id("name")).input("text", &typed("name"), problem, Input { longest: Some(100), ..Input::default() }))
        (Field::new("email", "E-mail address").id(&id("email")).input("email", &typed("email"), problem, Input { longest: Some(254), ..Input::default() }))
        (Field::new("role", "Role").id(&id("role")).select(&roles(), &typed("role"), problem))
        (Field::new("teams", "Teams").id(&id("teams")).hint(TEAMS_HINT).input("text", &typed("teams"), problem, Input { required: false, longest: Some(400), ..Input::default() }))
    }
}

fn roles() -> Vec<(String, String)> {
    Role::ALL.map(|r| (r.as_str().to_owned(), role_words(r).to_owned())).to_vec()
}

const TEAMS_HINT: &str = "Names of a-z, 0-9 and -, separated by spaces. Agents see the requests of their teams; the first one gets what they issue. Without a team: what belongs to none.";

fn role_words(role: Role) -> &'static str {
    match role {
        Role::Agent => "agent: asks for documents",
        Role::Admin => "admin: everything",
        Role::Auditor => "auditor: reads the audit log",
        Role::ManualHandler => "manual-handler: agent who serves providers by hand",
    }
}

/// What the page of one account shows an admin.
pub(crate) struct AgentPage<'a> {
    pub agent: &'a Agent,
    pub other: &'a Agent,
    pub sessions: &'a [OpenSession],
    pub shortest: usize,
    pub now: OffsetDateTime,
    pub done: Option<Notice>,
    pub problem: Option<&'a Problem>,
}

pub(crate) fn agent(page: &AgentPage<'_>) -> Markup {
    let AgentPage { agent, other, problem, .. } = *page;
    let path = |verb: &str| format!("/admin/agents/{}/{verb}", other.id);
    let body = html! {
        p.crumbs { a href="/admin/agents" { "Agents" } }
        h1 { (other.name) " " (chip(other, page.now)) }
        (notice(page.done))
        div.columns {
            div {
            @if other.id != agent.id {
                form.card method="post" action=(path("role")) {
                    h2 { "Role and teams" }
                    (Field::new("role", "Role").select(&roles(), other.role.as_str(), problem))
                    (Field::new("teams", "Teams").hint(TEAMS_HINT).input("text", &teams_words(other), problem, Input { required: false, longest: Some(400), ..Input::default() }))
                    p.quiet { "Every session of theirs ends." }
                    div.actions { button.primary { "Change" } }
                }
            }
            form.card method="post" action=(path("password")) {
                h2 { "New password" }
                (refusal(problem))
                (new_password(page.shortest, problem))
                p.quiet {
                    "Every session of theirs ends. "
                    @if other.id != agent.id { "Tell them the password in person; at the next sign-in they must set another one. A sign-in link needs no password of yours." }
                }
                div.actions { button.primary { "Set the password" } }
            }
            }
            div {
                (account_card(page, &path))
                (sessions_card(page, &path("sessions/end")))
            }
        }
    };
    frame::page(agent, Place::Admin, &other.name, body)
}

fn account_card(page: &AgentPage<'_>, path: &dyn Fn(&str) -> String) -> Markup {
    let AgentPage { agent, other, now, .. } = *page;
    html! {
        section.card {
            h2 { "Account" }
            dl.facts {
                dt { "E-mail" } dd { (other.email) }
                dt { "Role" } dd { (other.role.as_str()) }
                dt { "Since" } dd { (when(other.created_at)) }
                dt { "Last sign-in" } dd { @if let Some(at) = other.signed_in_at { (when(at)) } @else { "never" } }
                @if let Some(invitation) = &other.invitation { dt { "Link" } dd { @if now < invitation.expires_at { "open, ends " } @else { "ended " } (ago(invitation.expires_at, now)) } }
                dt { "Password" } dd { @if other.password.is_none() { "none" } @else if other.password_kind == PasswordKind::Temporary { "set by an admin: another one must be set at the next sign-in" } @else { "their own" } }
                dt { "Second factor" } dd { (factor_words(other)) }
                @if other.misses.password > 0 { dt { "Wrong passwords in a row" } dd { (other.misses.password) @if other.misses.close_password(false) { ": closed to browsers that they have not used before. A new password opens it again." } } }
                @if other.misses.code > 0 { dt { "Wrong codes in a row" } dd { (other.misses.code) @if other.misses.close_codes() { ": codes are not taken any more. Reset the second factor." } } }
                @if let Some(at) = other.disabled_at { dt { "Disabled" } dd { (when(at)) } }
            }
            @if other.disabled_at.is_some() {
                form.act method="post" action=(path("enable")) { button.plain { "Enable again" } p.hint { "They sign in as before: same role, same password, same second factor." } }
            } @else if other.id != agent.id {
                div.act { a.button.plain href=(path("link")) { "Make a sign-in link…" } p.hint { "With it they set a new password or a passkey themselves." } }
            }
            @if other.factors.any() && other.id != agent.id {
                form.act method="post" action=(path("second-factor")) { button.plain { "Reset the second factor" } p.hint { "For somebody who has lost everything. Make sure that it is them: the password alone then opens the account." } }
            }
            @if other.id != agent.id {
                @if other.disabled_at.is_none() { div.act { a.button.danger href=(path("disable")) { "Disable…" } p.hint { "Ends their access until they are enabled again." } } }
                div.act { a.button.danger href=(path("delete")) { "Delete…" } p.hint { "Ends their access for good. What they did stays in the log, under their name." } }
            }
        }
    }
}

fn sessions_card(page: &AgentPage<'_>, path: &str) -> Markup {
    html! {
        section.card {
            h2 { "Signed in" }
            @if page.sessions.is_empty() { p.quiet { "Nowhere." } }
            ul.list {
                @for open in page.sessions {
                    li.row {
                        div { strong { (open.session.browser) } br; (entry_words(open.session.how)) ", " (when(open.session.created_at)) " " span.quiet { "used " (ago(open.session.seen_at, page.now)) } }
                        form method="post" action=(path) {
                            input type="hidden" name="session" value=(open.name);
                            button.plain { "End" span.hidden { " the session of " (open.session.browser) } }
                        }
                    }
                }
            }
        }
    }
}

fn factor_words(agent: &Agent) -> String {
    let f = &agent.factors;
    match (f.totp.is_some(), f.passkeys.len()) {
        (false, 0) => "none: a password is enough".to_owned(),
        (true, 0) => "authenticator app".to_owned(),
        (app, n) => format!(
            "{n} passkey{}{}",
            if n == 1 { "" } else { "s" },
            if app { ", authenticator app" } else { "" }
        ),
    }
}

/// Asks before somebody's access ends.
pub(crate) fn disable(agent: &Agent, other: &Agent) -> Markup {
    let body = html! {
        p { strong { (other.name) } ", " (other.email) }
        p { "Every session of theirs ends at once, and they cannot sign in any more. API keys that they made go on. What they did stays in the log." }
        p { "You can enable them again at any time, with everything as it was." }
    };
    confirm(agent, other, "Disable this agent?", &body, "disable", "Disable", "danger")
}

/// Asks before an account is gone; `keys`: the API keys that end with it.
pub(crate) fn delete(agent: &Agent, other: &Agent, keys: &[ApiKey]) -> Markup {
    let body = html! {
        p { strong { (other.name) } ", " (other.email) }
        p { "The account is gone for good, with its password, passkeys and teams; every session of theirs ends at once. The log keeps what they did, under their name." }
        @if !keys.is_empty() {
            p { strong { "These API keys end too" } ", because they made them. Whatever uses one is refused from that instant on; make another one there first:" }
            ul { @for key in keys { li { (key.name) @if let Some(at) = key.used_at { span.quiet { ", last used " (when(at)) } } } } }
        }
        @if other.disabled_at.is_none() { p.quiet { "To end their access for a while, disable them instead." } }
    };
    confirm(agent, other, "Delete this agent?", &body, "delete", "Delete for good", "danger")
}

/// Asks before a new link makes an older one worthless.
pub(crate) fn new_link(agent: &Agent, other: &Agent, mail: bool, now: OffsetDateTime) -> Markup {
    let open = other.invitation.as_ref().filter(|i| now < i.expires_at);
    let body = html! {
        p { strong { (other.name) } ", " (other.email) }
        @if let Some(invitation) = open { p { strong { "The link that they have stops working" } ", which would have been good until " (when(invitation.expires_at)) ". Only the new one counts." } }
        p { "With the link they set a new password" @if other.factors.any() { "; their second factor stays, and is asked for" } @else { " or a passkey" } ". It is good once, for three days. Until it is used, everything stays as it is; then every session of theirs ends." }
        p { @if mail { "It goes to them by e-mail." } @else { "No mail is configured: you see it once, to hand it over. Make sure that it reaches them and nobody else." } }
    };
    confirm(agent, other, "Make a sign-in link?", &body, "link", "Make the link", "primary")
}

fn confirm(agent: &Agent, other: &Agent, title: &str, body: &Markup, verb: &str, label: &str, tone: &str) -> Markup {
    let back = format!("/admin/agents/{}", other.id);
    let body = html! {
        div.outside {
            h1 { (title) }
            div.card {
                (body)
                form.actions method="post" action={ (back) "/" (verb) } { button.(tone) autofocus { (label) } a.button.plain href=(back) { "Cancel" } }
            }
        }
    };
    frame::page(agent, Place::Admin, title, body)
}

/// The link of an invitation, where nobody sends mail.
pub(crate) fn link_made(agent: &Agent, other: &Agent, link: &str, expires_at: OffsetDateTime) -> Markup {
    let body = html! {
        div.outside {
            h1 { "The link is ready" }
            p.notice.good role="status" { strong { "Shown this once. " } "Hand it to " (other.name) " and to nobody else: whoever opens it first sets the password." }
            div.card {
                (copyable("link", "Sign-in link", link, true))
                p.quiet { "It works once, until " (when(expires_at)) "." }
            }
            p { a.button.primary href={ "/admin/agents/" (other.id) } { "To the account" } }
        }
    };
    frame::page(agent, Place::Admin, "The link is ready", body)
}
