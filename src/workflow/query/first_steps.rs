//! The first steps of a new portal, for admins: what is still to be done before real documents come. What the portal can know it says; what it cannot, an admin ticks off.

use std::collections::BTreeSet;

use crate::domain::agent::{Actor, Agent, Role};
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::first_step::FirstStep;
use crate::storage::StorageError;
use crate::workflow::Portal;

/// The company's name where nobody has said it: in the file that `init` writes, and without a file.
const UNNAMED: [&str; 2] = ["Example Bank", "Document drop"];
/// How a hidden list is kept, among the ticks.
const HIDDEN: &str = "hidden";

/// How one step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepState {
    /// The portal sees that it is done.
    Done,
    /// An admin said so.
    TickedOff,
    Open,
    /// Providers: nothing but sandboxes so far.
    OnlySandbox,
}

impl StepState {
    pub(crate) const ALL: [StepState; 4] = [Self::Done, Self::TickedOff, Self::Open, Self::OnlySandbox];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::TickedOff => "ticked_off",
            Self::Open => "open",
            Self::OnlySandbox => "only_sandbox",
        }
    }
}

/// The steps, in their order.
pub(crate) struct FirstSteps(pub Vec<(FirstStep, StepState)>);

/// Who asks, as far as the step about protecting accounts depends on it.
pub(crate) enum Asker<'a> {
    Admin(&'a Agent),
    /// A machine: it asks for all admins.
    Machine,
}

/// `console`: how browsers reach the console, where it has an address beyond this machine. `None` when there is nothing to show.
pub(crate) async fn load(portal: &Portal, agent: &Agent, console: Option<&str>) -> Result<Option<FirstSteps>, StorageError> {
    if hidden(portal).await? {
        return Ok(None);
    }
    let steps = all(portal, Asker::Admin(agent), console).await?;
    let left = steps
        .0
        .iter()
        .any(|(_, state)| matches!(state, StepState::Open | StepState::OnlySandbox));
    Ok(left.then_some(steps))
}

/// Every step, whether or not somebody has put the list away.
pub(crate) async fn all(portal: &Portal, asker: Asker<'_>, console: Option<&str>) -> Result<FirstSteps, StorageError> {
    let said = said(portal).await?;
    let protected = match asker {
        Asker::Admin(agent) => agent.factors.any(),
        Asker::Machine => {
            let agents = portal.directory.agents().await?;
            let mut admins = agents.iter().filter(|agent| agent.role == Role::Admin && agent.can_sign_in());
            admins.all(|admin| admin.factors.any())
        }
    };
    let steps = FirstStep::ALL.iter().map(|step| {
        let ticked = step.can_be_ticked() && said.contains(step.as_str());
        (*step, state(portal, protected, console, *step, ticked))
    });
    Ok(FirstSteps(steps.collect()))
}

fn state(portal: &Portal, protected: bool, console: Option<&str>, step: FirstStep, ticked: bool) -> StepState {
    let company = portal.policy.company.trim();
    let kinds: Vec<&str> = portal.providers.values().map(|connector| connector.profile().kind).collect();
    let done = match step {
        FirstStep::Company => !company.is_empty() && !UNNAMED.contains(&company),
        FirstStep::Provider if !kinds.is_empty() && kinds.iter().all(|kind| *kind == "sandbox") => return StepState::OnlySandbox,
        FirstStep::Provider => !kinds.is_empty(),
        FirstStep::Console => console.is_some_and(|url| url.starts_with("https://")),
        FirstStep::SecondFactor => protected,
        FirstStep::Mail => portal.outgoing.mailer.is_some(),
        FirstStep::Backup => portal.backups.last().is_some(),
    };
    match (done, ticked) {
        (true, _) => StepState::Done,
        (false, true) => StepState::TickedOff,
        (false, false) => StepState::Open,
    }
}

/// Whether somebody has put the list away.
pub(crate) async fn hidden(portal: &Portal) -> Result<bool, StorageError> {
    Ok(said(portal).await?.contains(HIDDEN))
}

/// What is so already is not written down again.
pub(crate) async fn hide(portal: &Portal, hidden: bool, by: Actor) -> Result<(), StorageError> {
    let mut said = said(portal).await?;
    let changed = match hidden {
        true => said.insert(HIDDEN.to_owned()),
        false => said.remove(HIDDEN),
    };
    let action = if hidden {
        AuditAction::FirstStepsHidden
    } else {
        AuditAction::FirstStepsShown
    };
    match changed {
        true => keep(portal, &said, AuditEvent::new(portal.now(), by, action)).await,
        false => Ok(()),
    }
}

/// Ticks a step off that the portal cannot see; any other is left as it is.
pub(crate) async fn tick(portal: &Portal, step: FirstStep, by: Actor) -> Result<(), StorageError> {
    let mut said = said(portal).await?;
    if !step.can_be_ticked() || !said.insert(step.as_str().to_owned()) {
        return Ok(());
    }
    let event = AuditEvent::new(portal.now(), by, AuditAction::FirstStepTicked).with("step", step.as_str());
    keep(portal, &said, event).await
}

async fn said(portal: &Portal) -> Result<BTreeSet<String>, StorageError> {
    let words = portal.directory.first_steps().await?;
    Ok(words.split(' ').filter(|w| !w.is_empty()).map(str::to_owned).collect())
}

async fn keep(portal: &Portal, said: &BTreeSet<String>, event: AuditEvent) -> Result<(), StorageError> {
    let words: Vec<&str> = said.iter().map(String::as_str).collect();
    portal.directory.keep_first_steps(&words.join(" "), event).await
}
