//! The list of requests, one request, its confirmations and its deletion receipt.

use std::collections::BTreeMap;

use maud::{Markup, html};
use time::OffsetDateTime;

use crate::domain::agent::{Agent, Role};
use crate::domain::audit::AuditEvent;
use crate::domain::delivery::{BY_HAND, PassedOn, Phase, PurgeCause};
use crate::domain::list_order::ListOrder;
use crate::domain::outcome::Outcome;
use crate::domain::receipt::SignedReceipt;
use crate::domain::request::{DocumentRequest, RequestState, Stage};
use crate::domain::saved_view::{SavedView, VIEW_NAME, VIEWS};
use crate::http::error::Problem;
use crate::http::staff::console::bulk::page::Act;
use crate::http::staff::console::desk::page as desk;
use crate::http::staff::console::frame::{self, Place};
use crate::http::staff::console::outgoing::page::render_dispatches;
use crate::http::staff::console::spans::Choice;
use crate::http::staff::console::widgets::{
    BY_HAND_WORDS, Field, Input, Notice, ago, applicant, chip, event_words, notice, outcome_words, refusal, size_words, state_words, when,
};
use crate::http::staff::input::Search;
use crate::http::staff::permission::{Manual, ManualDownload, Requests, may};
use crate::http::staff::view::request as view;
use crate::workflow::assignment::Assignee;
use crate::workflow::query::names::Names;
use crate::workflow::query::requests::{Listed, Row, Whole};

/// What the list shows.
pub(crate) struct ListPage<'a> {
    pub agent: &'a Agent,
    pub search: &'a Search,
    pub listed: &'a Listed,
    pub views: &'a [SavedView],
    pub names: &'a Names,
    pub providers: Vec<String>,
    pub now: OffsetDateTime,
    pub problem: Option<&'a Problem>,
}

pub(crate) fn list(page: &ListPage<'_>) -> Markup {
    let ListPage {
        agent,
        search,
        listed,
        problem,
        ..
    } = *page;
    let body = html! {
        div.title { h1 { "Requests" } a.button.primary href="/requests/new" { "New request" } }
        (refusal(problem))
        (views(page))
        (filter(page))
        (save_as(page))
        @if listed.rows.is_empty() { p.empty { @if listed.next.is_some() { "None among those looked at so far; look further." } @else { "No request fits." } } }
        @else if may::<Requests>(agent.role) {
            form method="post" action="/requests/bulk" {
                (table(page, true))
                div.actions.bulk role="group" aria-label="With the chosen requests" {
                    span.quiet { "With the chosen requests:" }
                    @for act in Act::ALL { button.plain name="act" value=(act.as_str()) { (act.button()) } }
                }
            }
        } @else { (table(page, false)) }
        @if !listed.rows.is_empty() { (export(search)) }
        @if listed.cut { p.quiet { "More requests fit than are shown here. Type more of what you look for." } }
        (more(search, listed.next.as_deref()))
    };
    frame::live_page(agent, Place::Requests, "Requests", body)
}

/// The lists that the agent gave a name.
fn views(page: &ListPage<'_>) -> Markup {
    let shown = address_of(page.search);
    let plain = page.search.find.is_none() && page.search.applicant.is_none() && page.search.cursor.is_none();
    html! {
        @if !page.views.is_empty() {
            nav.tabs aria-label="Saved views" {
                @for view in page.views {
                    a href={ "/requests?" (view.filter) } aria-current=[(plain && view.filter == shown).then_some("page")] { (view.name) }
                }
                a href="/requests/views" { "Change views" }
            }
        }
    }
}

/// Gives the list a name, unless it has one. What somebody looked for is never part of it.
fn save_as(page: &ListPage<'_>) -> Markup {
    let ListPage { search, problem, .. } = *page;
    let shown = address_of(search);
    let savable = problem.is_none() && !shown.is_empty() && search.find.is_none() && search.applicant.is_none();
    let known = page.views.iter().any(|view| view.filter == shown);
    let name = Input {
        longest: Some(VIEW_NAME),
        ..Input::default()
    };
    html! {
        @if savable && !known && page.views.len() < VIEWS {
            form.filter method="post" action="/requests/views" {
                @for (field, value) in fields_of(search) { input type="hidden" name=(field) value=(value); }
                (Field::new("name", "Save this list as").input("text", "", None, name))
                div.actions { button.plain { "Save view" } }
            }
        }
    }
}

/// Whom a list can be cut down to: everybody for admins; for others themselves and who issued what they see, so that no team learns who is in another.
fn issuers(page: &ListPage<'_>) -> Vec<(String, String)> {
    let ListPage {
        agent,
        search,
        listed,
        names,
        ..
    } = *page;
    let me = agent.id.to_string();
    let mut all = vec![(String::new(), "Anybody".to_owned()), (me, "Me".to_owned())];
    let shown: Vec<String> = match agent.role {
        Role::Admin => names.ids().map(str::to_owned).collect(),
        _ => listed.rows.iter().map(|row| row.request.created_by.to_string()).collect(),
    };
    for id in shown.into_iter().chain(search.agent.clone()) {
        if !all.iter().any(|(known, _)| *known == id) {
            let name = names.of_actor(&id).to_owned();
            all.push((id, name));
        }
    }
    all
}

/// Ages that the list can be cut down to.
const AGES: [(&str, &str); 4] = [
    ("", "At any time"),
    ("1d", "More than a day ago"),
    ("7d", "More than a week ago"),
    ("30d", "More than a month ago"),
];

/// Orders of the list; the last one shows no request without a link that can be used.
const ORDERS: [(&str, &str); 3] = [
    ("", "Newest first"),
    (ListOrder::Oldest.as_str(), "Oldest first"),
    (ListOrder::Expiry.as_str(), "Ending soonest"),
];

fn filter(page: &ListPage<'_>) -> Markup {
    let ListPage { search, problem, .. } = *page;
    let chosen = |value: &Option<String>| value.clone().unwrap_or_default();
    let any = |label: &str| vec![(String::new(), label.to_owned())];
    let mut outcomes = any("Any outcome");
    outcomes.extend(Outcome::ALL.iter().map(|o| (o.as_str().to_owned(), outcome_words(*o).to_owned())));
    let mut states = any("Any state");
    states.extend(RequestState::ALL.map(|s| (s.as_str().to_owned(), state_words(s).0.to_owned())));
    let mut providers = any("Any provider");
    providers.extend(page.providers.iter().map(|p| (p.clone(), p.clone())));
    let ages: Vec<_> = AGES.map(|(span, words)| (span.to_owned(), words.to_owned())).to_vec();
    let orders: Vec<_> = ORDERS.map(|(order, words)| (order.to_owned(), words.to_owned())).to_vec();
    let optional = Input {
        required: false,
        longest: Some(128),
        ..Input::default()
    };
    html! {
        form.filter method="post" action="/requests" role="search" {
            (Field::new("find", "Find").hint("A request’s number, the reference on a receipt, a ticket, or an applicant’s reference or its beginning.").input("search", search.find.as_deref().unwrap_or_default(), problem, optional))
            div.actions { button.plain { "Find" } }
        }
        form.filter method="post" action="/requests" {
            (Field::new("outcome", "Outcome").select(&outcomes, &chosen(&search.outcome), problem))
            (Field::new("state", "State").select(&states, &chosen(&search.state), problem))
            (Field::new("provider", "Provider").select(&providers, &chosen(&search.provider), problem))
            (Field::new("agent", "Issued by").select(&issuers(page), &chosen(&search.agent), problem))
            (Field::new("assigned", "Assigned to").select(&desk::assignees(page.agent, &page.listed.rows, search, page.names), &chosen(&search.assigned), problem))
            (Field::new("older_than", "Issued").select(&ages, &chosen(&search.older_than), problem))
            (Field::new("sort", "Order").select(&orders, search.sort.as_deref().unwrap_or_default(), problem))
            div.actions { button.plain { "Show" } }
        }
    }
}

/// The same list, whole, for a spreadsheet.
fn export(search: &Search) -> Markup {
    html! {
        form.pager method="post" action="/requests/export" {
            @for (name, value) in fields_of(search) { input type="hidden" name=(name) value=(value); }
            @if let Some(find) = &search.find { input type="hidden" name="find" value=(find); }
            button.plain { "Export (CSV)" }
        }
    }
}

/// `choose`: with a box to tick in each row.
fn table(page: &ListPage<'_>, choose: bool) -> Markup {
    let now = page.now;
    // A desk of one has no use for the column.
    let assigned = page.search.assigned.is_some() || page.listed.rows.iter().any(|row| row.assignee != Assignee::Nobody);
    html! {
        table.rows {
            thead { tr { @if choose { th scope="col" { label.tick data-all="id" hidden { input type="checkbox"; span.hidden { "All" } } span.hidden { "Choose" } } } th scope="col" { "Document" } th scope="col" { "State" } th scope="col" { "Applicant" } th scope="col" { "Provider" } th scope="col" { "Issued" } @if assigned { th scope="col" { "Assigned to" } } th scope="col" { "Next" } } }
            tbody {
                @for row in &page.listed.rows {
                    @let request = &row.request;
                    tr {
                        @if choose { td.choose { label.tick { input type="checkbox" name="id" value=(request.id); span.hidden { "Choose " (row.label) " of " (applicant(row)) } } } }
                        td.head { a href={ "/requests/" (request.id) } { (row.label) } }
                        td data-label="State" { (chip(request, now)) }
                        td.mono data-label="Applicant" { (applicant(row)) }
                        td data-label="Provider" { (request.provider) }
                        td data-label="Issued" { (ago(request.created_at, now)) div.quiet { (page.names.of_actor(&request.created_by.to_string())) } }
                        @if assigned { td data-label="Assigned to" { (desk::assignee(&row.assignee)) } }
                        td data-label="Next" { (next_step(request, now)) }
                    }
                }
            }
        }
    }
}

fn next_step(request: &DocumentRequest, now: OffsetDateTime) -> Markup {
    match (&request.stage, request.state(now)) {
        (_, RequestState::Awaiting | RequestState::Receiving) => html! { "Link expires " (ago(request.link.expires_at, now)) },
        (_, RequestState::Expired) => html! { "Link expired " (ago(request.link.expires_at, now)) },
        (Stage::Held { document, .. }, _) => html! { "Purged at the latest " (ago(document.purge_at, now)) },
        (Stage::Purged, _) => match request.tombstones.last() {
            Some(stone) => html! { (outcome_words(request.outcome(now))) " " (ago(stone.purged_at, now)) },
            None => html! {},
        },
        _ => html! {},
    }
}

/// What a list is cut down to, as the fields of a form.
pub(crate) fn fields_of(search: &Search) -> Vec<(&'static str, &str)> {
    let fields = [
        ("state", &search.state),
        ("outcome", &search.outcome),
        ("provider", &search.provider),
        ("agent", &search.agent),
        ("assigned", &search.assigned),
        ("older_than", &search.older_than),
        ("sort", &search.sort),
        ("applicant", &search.applicant),
    ];
    let filled = fields.into_iter().filter_map(|(name, value)| value.as_deref().map(|v| (name, v)));
    filled.collect()
}

/// The same as an address has it, without what may be a person's: these are checked words of a few letters.
pub(crate) fn address_of(search: &Search) -> String {
    let pairs = fields_of(search).into_iter().filter(|(name, _)| *name != "applicant");
    pairs.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// With an applicant the next page is a POST like the first: the reference stays out of the address.
fn more(search: &Search, next: Option<&str>) -> Markup {
    let Some(next) = next else { return html! {} };
    let fields = fields_of(search);
    let words = match search.sort.as_deref().and_then(ListOrder::parse).unwrap_or_default() {
        ListOrder::Newest => "Older requests",
        ListOrder::Oldest => "Newer requests",
        ListOrder::Expiry => "Later ends",
    };
    html! {
        div.pager {
            @if search.applicant.is_some() {
                form method="post" action="/requests" {
                    @for (name, value) in &fields { input type="hidden" name=(name) value=(value); }
                    button.plain name="cursor" value=(next) { (words) }
                }
            } @else {
                form method="get" action="/requests" {
                    @for (name, value) in &fields { input type="hidden" name=(name) value=(value); }
                    button.plain name="cursor" value=(next) { (words) }
                }
            }
        }
    }
}

/// What one request's page shows.
pub(crate) struct ShowPage<'a> {
    pub agent: &'a Agent,
    pub whole: &'a Whole,
    /// As the API shows it.
    pub shown: &'a view::Request,
    /// Lives that would give the link more time.
    pub longer: Vec<Choice>,
    pub passcode_required: bool,
    pub once: String,
    pub done: Option<Notice>,
}

impl ShowPage<'_> {
    fn row(&self) -> &Row {
        &self.whole.detail.row
    }

    fn now(&self) -> OffsetDateTime {
        self.whole.detail.now
    }
}

pub(crate) fn show(page: &ShowPage<'_>) -> Markup {
    let (title, request) = (page.row().label.as_str(), &page.row().request);
    let dispatches = &page.whole.dispatches;
    let body = html! {
        p.crumbs { a href="/requests" { "Requests" } }
        div.title { h1 { (title) } (chip(request, page.now())) }
        (notice(page.done))
        (what_is_wrong(request, may::<ManualDownload>(page.agent.role)))
        div.columns {
            @if may::<Requests>(page.agent.role) { aside.card aria-labelledby="actions" {
                h2 id="actions" { "What you can do" }
                (actions(page))
                (desk::assignment(request.id, &page.row().assignee, &page.whole.colleagues, page.agent))
            } }
            div {
                section.card { h2 { "Request" } (facts(page)) }
                section.card aria-labelledby="notes" { h2 id="notes" { "Notes" } (desk::notes(request.id, &page.whole.detail.notes, &page.whole.names, may::<Requests>(page.agent.role).then_some(page.once.as_str()))) }
                section.card { h2 { "What happened" } (timeline(page)) }
                @if !dispatches.is_empty() { section.card { h2 { "Messages sent" } (render_dispatches(dispatches)) } }
            }
        }
    };
    frame::live_page(page.agent, Place::Requests, title, body)
}

/// `handler`: whoever looks may hand documents over.
fn what_is_wrong(request: &DocumentRequest, handler: bool) -> Markup {
    if request.waits_for_hand() {
        return html! {
            p.notice {
                strong { (BY_HAND_WORDS) ". " }
                "This provider has no interface. "
                @if handler { a href={ "/requests/" (request.id) "/hand-over" } { "Download the parts" } ", upload them there, and mark the request as uploaded." }
                @else { "Somebody with the role manual-handler downloads the parts, uploads them there, and marks the request as uploaded." }
            }
        };
    }
    let held = request.held().map(|(_, delivery)| delivery);
    if let Some(Phase::NeedsAttention { problem, .. }) = held.map(|d| &d.phase) {
        return html! { p.notice.bad { strong { "Could not be delivered. " } (problem.text) " " span.quiet { "(" (problem.code) ")" } } };
    }
    if let Some(problem) = held.and_then(|d| d.last_problem.as_ref()) {
        return html! { p.notice.warn { strong { "The last attempt failed. " } (problem.text) " It is tried again by itself." } };
    }
    match (&request.stage, request.tombstones.last().map(|t| &t.cause)) {
        (Stage::Purged, Some(PurgeCause::Rejected(problem))) => {
            let words = crate::words::of(request.locale.as_deref().unwrap_or("en")).unwrap_or_else(crate::words::english);
            html! {
                div.notice.bad {
                    p { strong { "The provider did not accept it. " } (problem.text) " " span.quiet { "(" (problem.code) ")" } }
                    p { "“Ask again” tells the applicant: " q lang=(words.tag) dir=(words.direction) { (words.rejection(&problem.code)) } }
                }
            }
        }
        (Stage::Purged, Some(PurgeCause::Lost)) => {
            html! { p.notice.bad { "The key of this document was lost, so nobody can read it any more. Ask again." } }
        }
        _ => html! {},
    }
}

fn facts(page: &ShowPage<'_>) -> Markup {
    let (row, shown, now) = (page.row(), page.shown, page.now());
    let request = &row.request;
    html! {
        dl.facts {
            dt { "Applicant" } dd.mono { (applicant(page.row())) }
            dt { "Provider" } dd { (request.provider) @if page.row().by_hand { " (served by hand)" } }
            dt { "Parts" }
            dd { @for (n, part) in request.parts.iter().enumerate() {
                @if n > 0 { br; }
                (part.name) span.quiet { " · " (part.accepted.iter().map(|t| t.label()).collect::<Vec<_>>().join(", ")) ", up to " (size_words(part.max_bytes)) }
            } }
            dt { "Issued" } dd { (when(request.created_at)) span.quiet { " by " (page.whole.names.of_actor(&shown.created_by)) } }
            @if row.assignee != Assignee::Nobody { dt { "Assigned to" } dd { (desk::assignee(&row.assignee)) } }
            dt { "Link" } dd { (link_words(shown)) @if shown.link.state == "active" { " until " (when(request.link.expires_at)) } @if request.link.generation > 1 { span.quiet { " · link no. " (request.link.generation) } } }
            @if let Some(at) = request.link.opened_at { dt { "Opened" } dd { (when(at)) } }
            @if let Some(tries) = shown.link.tries_left.filter(|_| matches!(request.stage, Stage::Open { .. })) { dt { "Passcode" } dd { (tries) " tries left" } }
            @if let Some(locale) = &request.locale { dt { "Language" } dd { (locale) } }
            @if let Some((document, delivery)) = request.held() {
                dt { "Received" } dd { (when(document.received_at)) }
                dt { "Delivery" } dd { (phase_words(&delivery.phase)) @if delivery.attempts > 0 { span.quiet { " · " (delivery.attempts) " failed attempts" } } }
                @if let Some(next) = next_attempt(&delivery.phase) { dt { "Next step" } dd { (ago(next, now)) } }
                dt { "Purged at the latest" } dd { (when(document.purge_at)) }
            }
            @if let (Stage::Purged, Some(stone)) = (&request.stage, request.tombstones.last()) {
                dt { "Received" } dd { (when(stone.received_at)) }
                dt { "Outcome" } dd { (outcome_words(request.outcome(now))) @match stone.passed_on {
                    PassedOn::Yes if matches!(stone.cause, PurgeCause::Confirmed | PurgeCause::Rejected(_)) => {}
                    PassedOn::Yes => { "; the provider has it" }
                    PassedOn::No => { "; it was not passed on" }
                    PassedOn::Unknown => { "; whether the provider has it is unknown" }
                } }
                dt { "Purged" } dd { (when(stone.purged_at)) }
            }
            @if let Some(reference) = &shown.receipt_reference { dt { "Receipt reference" } dd.mono { (reference) } }
            @if let Some(ticket) = &shown.ticket { dt { "Ticket" } dd.mono { (ticket) } }
            dt { "Number" } dd.mono { (request.id) }
        }
        @if let Some(message) = &page.whole.message { h3 { "Your note to the applicant" } blockquote { (message) } }
        @if let Some(metadata) = &shown.metadata { details { summary { "Attached data" } pre { (serde_json::to_string_pretty(metadata).unwrap_or_default()) } } }
    }
}

fn link_words(shown: &view::Request) -> &'static str {
    match shown.link.state {
        "active" => "Open",
        "locked" => "Locked after five wrong passcodes: give a fresh code",
        "expired" => "Expired",
        "revoked" => "Withdrawn",
        _ => "Used",
    }
}

fn phase_words(phase: &Phase) -> &'static str {
    match phase {
        Phase::Pending { .. } => "Waiting to be sent",
        Phase::Sending { .. } => "Being sent",
        Phase::Uncertain { .. } => "Outcome unknown; the provider is being asked",
        Phase::AwaitingConfirmation { .. } => "With the provider, verdict pending",
        Phase::NeedsAttention { problem, .. } if problem.code == BY_HAND => BY_HAND_WORDS,
        Phase::NeedsAttention { .. } => "Stopped; needs a decision",
    }
}

fn next_attempt(phase: &Phase) -> Option<OffsetDateTime> {
    match phase {
        Phase::Pending { not_before } => Some(*not_before),
        Phase::Uncertain { check_at, .. } => Some(*check_at),
        Phase::AwaitingConfirmation { poll_at, .. } => Some(*poll_at),
        _ => None,
    }
}

fn timeline(page: &ShowPage<'_>) -> Markup {
    let names = &page.whole.names;
    html! {
        ol.timeline {
            @for entry in &page.whole.detail.timeline {
                @let event = &entry.event;
                li {
                    (when(event.at))
                    " " strong { (event_words(event)) }
                    " " span.quiet { (names.of_actor(&event.actor.to_string())) @for (name, value) in details(event) { " · " (name) " " @if name == "to" { (names.of_actor(value)) } @else { (value) } } }
                }
            }
        }
    }
}

/// By name, each once.
fn details(event: &AuditEvent) -> BTreeMap<&str, &str> {
    event.detail.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn actions(page: &ShowPage<'_>) -> Markup {
    let (request, by_hand, now) = (&page.row().request, page.row().by_hand, page.now());
    let (role, longer) = (page.agent.role, &page.longer);
    let path = |verb: &str| format!("/requests/{}/{verb}", request.id);
    let open = matches!(request.stage, Stage::Open { .. });
    let revoked = request.link.revoked_at.is_some();
    let stuck = request
        .held()
        .is_some_and(|(_, d)| matches!(d.phase, Phase::NeedsAttention { .. } | Phase::Pending { .. }));
    let sending = request.held().is_some_and(|(_, d)| matches!(d.phase, Phase::Sending { .. }));
    let again = matches!(request.stage, Stage::Purged) && request.tombstones.last().is_none_or(|t| t.cause != PurgeCause::Confirmed);
    let markable = request.held().is_some() && !sending && (!by_hand || may::<Manual>(role));
    html! {
        @if open && !revoked {
            @if longer.is_empty() { p.quiet { "The link already lives as long as a link may." } } @else { form.act method="post" action=(path("extend")) {
                (Field { name: "extend-in", ..Field::new("expires_in", "Give more time, from now") }.select_named("expires_in", longer))
                button.plain { "Extend the link" }
            } }
        }
        @if (open || again) && request.state(now) != RequestState::Receiving {
            form.act method="post" action=(path("reissue")) {
                input type="hidden" name="once" value=(page.once);
                label.tick { input type="checkbox" name="passcode" value="yes" checked[request.link.passcode.is_some() || page.passcode_required]; "with a passcode" }
                button.plain.primary[again] { @if again { "Ask again with a new link" } @else { "New link" } }
                @if open { p.hint { "The present link is dead from that instant on." } }
            }
        }
        @if open && request.link.passcode.is_some() {
            form.act method="post" action=(path("passcode")) { button.plain { "Give a fresh passcode" } p.hint { "Five new tries on the same link." } }
        }
        @if stuck && !by_hand { form.act method="post" action=(path("retry")) { button.primary { "Send again" } } }
        @if request.held().is_some() && by_hand && may::<ManualDownload>(role) {
            p.act { a.button.primary href=(path("hand-over")) { "Serve by hand…" } }
        }
        @if markable { p.act { a.button.plain href=(path("mark-uploaded")) { "Mark as uploaded…" } } }
        @if !request.tombstones.is_empty() { p.act { a.button.plain href=(path("receipt")) { "Deletion receipt" } } }
        @if open && !revoked { p.act { a.button.danger href=(path("revoke")) { "Withdraw the link…" } } }
        @if request.held().is_some() { p.act { a.button.danger href=(path("purge")) { "Purge the document…" } } }
        @if matches!(request.stage, Stage::Purging { .. }) { p.quiet { "The document is being destroyed. There is nothing left to do." } }
    }
}

impl Field<'_> {
    /// A select whose id is not its name, where the same name stands in several forms.
    fn select_named(&self, name: &str, options: &[(String, String)]) -> Markup {
        html! {
            div.field {
                label for=(self.name) { (self.label) }
                select id=(self.name) name=(name) { @for (value, label) in options { option value=(value) { (label) } } }
            }
        }
    }
}

/// What is asked twice.
#[derive(Clone, Copy)]
pub(crate) enum Confirm {
    Revoke,
    Purge,
    Uploaded,
}

pub(crate) fn confirm(agent: &Agent, row: &Row, what: Confirm) -> Markup {
    let request = &row.request;
    let (verb, title, text, button) = match what {
        Confirm::Revoke => (
            "revoke",
            "Withdraw this link?",
            "Nothing can be dropped through it any more, not even by an upload that runs now. You can issue a new link later.",
            "Withdraw the link",
        ),
        Confirm::Purge => (
            "purge",
            "Purge this document?",
            "It is destroyed for good, delivered or not. You can ask the applicant again, but nobody can bring this document back.",
            "Purge the document",
        ),
        Confirm::Uploaded => (
            "mark-uploaded",
            "Mark as uploaded?",
            "You say that the provider has this document. It counts as confirmed, and it is destroyed here for good.",
            "The provider has it",
        ),
    };
    let body = html! {
        div.outside {
            h1 { (title) }
            div.card {
                p { strong { (row.label) } " · " (request.provider) " · " span.mono { (applicant(row)) } }
                p { (text) }
                form.actions method="post" action={ "/requests/" (request.id) "/" (verb) } {
                    button.danger autofocus { (button) }
                    a.button.plain href={ "/requests/" (request.id) } { "Cancel" }
                }
            }
        }
    };
    frame::page(agent, Place::Requests, title, body)
}

pub(crate) fn receipt(agent: &Agent, company: &str, row: &Row, signed: &SignedReceipt) -> Markup {
    let (request, receipt) = (&row.request, &signed.receipt);
    let erasure = &receipt.erasure;
    let cause = outcome_words(request.resting_outcome());
    let body = html! {
        p.crumbs { a href={ "/requests/" (request.id) } { "Back to the request" } }
        div.title { h1 { "Deletion receipt no. " (receipt.number) } a.button.plain href={ "/requests/" (request.id) "/receipt.txt" } { "Download, signed" } }
        section.card.receipt {
            p.lead { "This document was destroyed at " strong { (company) } "." }
            dl.facts {
                dt { "Document" } dd { (row.label) ", " (erasure.parts) " part" @if erasure.parts != 1 { "s" } }
                dt { "Received" } dd { (when(erasure.received_at)) }
                dt { "Outcome" } dd { (cause) }
                dt { "Unreadable since" } dd { (when(erasure.erased_at)) }
                dt { "Bytes deleted" } dd { (when(erasure.purged_at)) }
                dt { "How" } dd { (erasure.method) }
                dt { "Assurance class" } dd { (erasure.class) }
            }
        }
        section.card {
            h2 { "The signed text" }
            p.quiet { "Anybody who knows this portal’s receipt key can check it offline: " code { "nightdrop receipt verify FILE" } }
            pre.signed { (signed.text) }
        }
    };
    frame::page(agent, Place::Requests, "Deletion receipt", body)
}
