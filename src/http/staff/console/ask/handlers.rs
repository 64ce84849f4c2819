//! Asking for a document: what is missing, a new request, a new link, a fresh code. These pages show a secret for some minutes; sent twice, a form has its
//! effect once.

use maud::Markup;

use crate::connectors::Missing;
use crate::domain::document::{ApplicantRef, ProviderName};
use crate::domain::id::RequestId;
use crate::http::context::{AppState, State};
use crate::http::error::Problem;
use crate::http::extract::form::{Form, Typed, keeps, once};
use crate::http::extract::json::Span;
use crate::http::extract::path::Id;
use crate::http::staff::auth::{Get, Post, SignedIn};
use crate::http::staff::console::ask::page::{self as pages, Choices, MissingOf, MissingRow};
use crate::http::staff::console::spans::{Choice, lives};
use crate::http::staff::console::{Page, html, html_of, see};
use crate::http::staff::input::{self, NewRequest};
use crate::http::staff::permission::Requests;
use crate::workflow::WorkflowError;
use crate::workflow::catalogue::Catalogue;
use crate::workflow::issue::{self, ClientKey, Expiry, Issued};
use crate::workflow::link_message::{self, HandedOver, MailWish, Sent};
use crate::workflow::outgoing::mail::Queued;
use crate::workflow::query::asked;
use crate::workflow::query::missing as query;
use crate::workflow::query::requests::Row;
use crate::workflow::terms;

keeps! {
    /// Of a new request.
    AskFields: "once" "provider" "applicant" "document" "part" "expires_in" "passcode" "locale" "ticket" "message" "email" "remind" "missing-of" "anyway" "prefill";
    /// Of a new link on a request.
    ReissueFields: "once" "passcode";
    /// Of the question what a provider still wants.
    MissingFields: "provider" "applicant";
}

fn choices(state: &AppState) -> Choices {
    let portal = &state.portal;
    let usual = format!("As usual ({} hours)", portal.policy.link.whole_hours());
    Choices {
        providers: portal
            .providers
            .iter()
            .map(|(name, connector)| (name.to_string(), connector.profile().kind))
            .collect(),
        documents: documents(&portal.catalogue),
        lives: lives(&usual, portal.policy.link_max),
        passcode_required: portal.policy.passcode_required,
        mail: portal.outgoing.mailer.is_some(),
    }
}

/// Each kind, and each single part of a kind that has several.
fn documents(catalogue: &Catalogue) -> Vec<Choice> {
    let mut options = Vec::new();
    for entry in catalogue.iter() {
        let (kind, label) = (entry.kind.as_str(), entry.label("en"));
        let names: Vec<_> = entry.parts.iter().map(|p| p.as_str()).collect();
        if names.len() == 1 {
            options.push((kind.to_owned(), label.to_owned()));
            continue;
        }
        options.push((kind.to_owned(), format!("{label} ({})", names.join(" and "))));
        options.extend(names.iter().map(|name| (format!("{kind}:{name}"), format!("{label}, {name} only"))));
    }
    options
}

pub(crate) async fn form(Get { who, .. }: Get<Requests>, state: State) -> Page {
    let typed = as_last_time(&who, &state).await?;
    Ok(html(form_page(&who, &state, &typed, None, &[])?))
}

/// What this agent chose last; nothing is chosen by the alphabet.
async fn as_last_time(who: &SignedIn<Requests>, state: &AppState) -> Result<Form, WorkflowError> {
    let Some(last) = asked::last_of(&state.portal, who.actor(), who.teams()).await? else {
        return Ok(Form::default());
    };
    let kind = state.portal.catalogue.get(&last.document);
    let document = match (kind, last.parts.as_slice()) {
        (Some(entry), [only]) if entry.parts.len() > 1 => format!("{}:{}", last.document, only.name),
        _ => last.document.to_string(),
    };
    Ok(Form::of(&[("provider", last.provider.as_str()), ("document", &document)]))
}

fn form_page(
    who: &SignedIn<Requests>,
    state: &AppState,
    typed: &Form,
    problem: Option<&Problem>,
    open: &[Row],
) -> Result<Markup, WorkflowError> {
    Ok(pages::form(&pages::AskPage {
        agent: &who.agent,
        choices: &choices(state),
        typed,
        once: &once()?,
        problem,
        open,
        now: state.portal.now(),
    }))
}

pub(crate) async fn issue(Post { who, with: form }: Post<Requests, Typed<AskFields>>, state: State) -> Page {
    if form.ticked("prefill") {
        return Ok(html(form_page(&who, &state, &form, None, &[])?));
    }
    let client = form.once(&who.agent)?;
    let missing = form.filled("missing-of").map(|applicant| MissingOf {
        provider: form.text("provider").to_owned(),
        applicant,
    });
    match issued(&who, &state, &form, client).await {
        Ok(Asked::Issued(issued, handed)) => Ok(html(issued_page(&who, &state, &issued, &handed, missing).await?)),
        Ok(Asked::OpenAlready(open)) => Ok(html(form_page(&who, &state, &form, None, &open)?)),
        Err(problem) => Ok(html_of(&problem, form_page(&who, &state, &form, Some(&problem), &[])?)),
    }
}

/// What became of a form.
enum Asked {
    Issued(Box<Issued>, Box<HandedOver>),
    /// The same was asked for before, and is still open: first the agent hears of it.
    OpenAlready(Vec<Row>),
}

async fn issued(who: &SignedIn<Requests>, state: &AppState, form: &Form, client: ClientKey) -> Result<Asked, Problem> {
    let portal = &state.portal;
    let wish = input::mail_wish(portal, form.filled("email"), Some(form.ticked("remind")))?;
    let ask = new_request(form)?.into_ask()?;
    if !form.ticked("anyway") && !issue::was_issued(portal, &client).await? {
        let open = asked::still_open(portal, &ask.provider, &ask.applicant, Some(&ask.document), who.teams()).await?;
        if !open.is_empty() {
            return Ok(Asked::OpenAlready(open));
        }
    }
    let issued = issue::issue(portal, ask, who.actor(), Some(client)).await?;
    let handed = link_message::hand_over(portal, &state.sender(), &issued, &wish, who.actor()).await?;
    Ok(Asked::Issued(Box::new(issued), Box::new(handed)))
}

async fn issued_page(
    who: &SignedIn<Requests>,
    state: &AppState,
    issued: &Issued,
    handed: &HandedOver,
    missing: Option<MissingOf>,
) -> Result<Markup, WorkflowError> {
    Ok(pages::issued(&pages::IssuedPage {
        missing,
        agent: &who.agent,
        row: &Row::of(&state.portal, (*issued.request).clone()).await?,
        handed,
        mail: state.portal.outgoing.mailer.is_some(),
    }))
}

/// The document's field is a kind, or a kind and one of its parts: `government-id:front`.
fn new_request(form: &Form) -> Result<NewRequest, Problem> {
    let (document, part) = form.text("document").split_once(':').unwrap_or((form.text("document"), ""));
    let mut parts = form.all("part");
    if !part.is_empty() {
        parts.push(part.to_owned());
    }
    Ok(NewRequest {
        provider: form.text("provider").to_owned(),
        applicant: form.text("applicant").to_owned(),
        document: document.to_owned(),
        parts: Some(parts).filter(|p| !p.is_empty()),
        expires_in: span(form)?,
        passcode: Some(form.ticked("passcode")),
        locale: form.filled("locale"),
        ticket: form.filled("ticket"),
        message: form.filled("message").map(|m| m.replace("\r\n", "\n")),
        ..NewRequest::default()
    })
}

fn span(form: &Form) -> Result<Option<Span>, Problem> {
    let wrong = || Problem::invalid("Choose how long the link is to live.").field("expires_in", "must be one of the list");
    form.filled("expires_in")
        .map(|text| Span::parse(&text).ok_or_else(wrong))
        .transpose()
}

pub(crate) async fn reissue(
    Post { who, with: (Id(id), form) }: Post<Requests, (Id<RequestId>, Typed<ReissueFields>)>,
    state: State,
) -> Page {
    let client = form.once(&who.agent)?;
    let expires = span(&form)?.map_or(Expiry::Default, |s| Expiry::In(s.0));
    let passcode = Some(form.ticked("passcode"));
    let issued = issue::reissue(&state.portal, id, expires, passcode, who.actor(), Some(client)).await?;
    let handed = link_message::hand_over(&state.portal, &state.sender(), &issued, &MailWish::default(), who.actor()).await?;
    Ok(html(issued_page(&who, &state, &issued, &handed, None).await?))
}

/// Mails the link that the page before has shown: its address comes back in the form, since nothing that is stored could give it.
pub(crate) async fn send(Post { who, with: (Id(id), form) }: Post<Requests, (Id<RequestId>, Form)>, state: State) -> Page {
    let found = terms::load(&state.portal, id).await?;
    let token = link_message::present_token(&state.portal, &found, form.text("token"))
        .ok_or_else(|| Problem::conflict("This is not the present link of the request any more. Issue a new one."))?;
    let sent = async {
        let wish = input::mail_wish(&state.portal, Some(form.text("email").to_owned()), Some(form.ticked("remind")))?;
        Ok::<_, Problem>(link_message::send_again(&state.portal, &state.sender(), &found, &token, &wish, who.actor()).await?)
    };
    let word = match sent.await {
        Ok(Some(Sent { link: Queued::Before, .. })) => "mailed-before",
        Ok(Some(Sent {
            reminder: Some(Queued::TooClose),
            ..
        })) => "mailed-once",
        Ok(_) => "mailed",
        Err(problem) => return Ok(html_of(&problem, pages::send(&who.agent, &found, &token.encode(), &form, &problem))),
    };
    Ok(see(&format!("/requests/{id}?done={word}")))
}

pub(crate) async fn passcode(Post { who, with: Id(id) }: Post<Requests, Id<RequestId>>, state: State) -> Page {
    let (request, code) = issue::fresh_passcode(&state.portal, id, who.actor()).await?;
    Ok(html(pages::fresh_code(&who.agent, &request, &code)))
}

pub(crate) async fn missing_form(Get { who, .. }: Get<Requests>, state: State) -> Page {
    let typed = as_last_time(&who, &state).await?;
    Ok(html(missing_page(&who, &state, &typed, None, None)))
}

fn missing_page(
    who: &SignedIn<Requests>,
    state: &AppState,
    typed: &Form,
    found: Option<&[MissingRow]>,
    problem: Option<&Problem>,
) -> Markup {
    pages::missing(&pages::MissingPage {
        agent: &who.agent,
        choices: &choices(state),
        typed,
        found,
        problem,
        now: state.portal.now(),
    })
}

/// The applicant's reference comes in the body, so it stands in no address and no log.
pub(crate) async fn missing(Post { who, with: form }: Post<Requests, Typed<MissingFields>>, state: State) -> Page {
    let found = query::ask(&state.portal, form.text("provider"), form.text("applicant")).await;
    match found {
        Ok(missing) => {
            let mut rows = Vec::new();
            for missing in missing {
                let open = issued_before(&who, &state, &form, &missing).await?;
                rows.push(missing_row(&state.portal.catalogue, missing, open)?);
            }
            Ok(html(missing_page(&who, &state, &form, Some(&rows), None)))
        }
        Err(why) => {
            let problem = why.into();
            Ok(html_of(&problem, missing_page(&who, &state, &form, None, Some(&problem))))
        }
    }
}

/// The open request for something that is missing.
async fn issued_before(who: &SignedIn<Requests>, state: &AppState, form: &Form, missing: &Missing) -> Result<Option<Row>, WorkflowError> {
    let applicant = missing.applicant.clone().or_else(|| ApplicantRef::parse(form.text("applicant")));
    let (Some(provider), Some(applicant), Some(kind)) = (ProviderName::parse(form.text("provider")), applicant, &missing.document) else {
        return Ok(None);
    };
    let open = asked::still_open(&state.portal, &provider, &applicant, Some(kind), who.teams()).await?;
    let wanted = |row: &Row| missing.parts.is_empty() || row.request.parts.iter().any(|part| missing.parts.contains(&part.name));
    Ok(open.into_iter().find(wanted))
}

fn missing_row(catalogue: &Catalogue, missing: Missing, open: Option<Row>) -> Result<MissingRow, WorkflowError> {
    let kind = missing.document.as_ref();
    Ok(MissingRow {
        known: kind
            .filter(|kind| catalogue.get(kind).is_some())
            .map(|kind| (kind.to_string(), catalogue.label(kind, "en").to_owned())),
        name: kind.map_or(missing.provider_name, ToString::to_string),
        parts: missing.parts.iter().map(ToString::to_string).collect(),
        reason: missing.reason,
        applicant: missing.applicant.map(|applicant| applicant.expose().to_owned()),
        once: once()?,
        open,
    })
}
