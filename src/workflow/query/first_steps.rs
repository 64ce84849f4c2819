//! The first steps of a new portal, for admins: what is still to be done before real documents come. What the portal can know it says; what it cannot, an admin ticks off.

use std::collections::BTreeSet;

use crate::domain::agent::Agent;
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

/// The steps, where something is left of them and nobody has hidden them.
pub(crate) struct FirstSteps(pub Vec<(FirstStep, StepState)>);

/// `console`: how browsers reach the console, where it has an address beyond this machine. `None` when there is nothing to show.
pub(crate) async fn load(portal: &Portal, agent: &Agent, console: Option<&str>) -> Result<Option<FirstSteps>, StorageError> {
    let said = said(portal).await?;
    if said.contains(HIDDEN) {
        return Ok(None);
    }
    let steps: Vec<_> = FirstStep::ALL
        .iter()
        .map(|step| {
            let ticked = step.can_be_ticked() && said.contains(step.as_str());
            (*step, state(portal, agent, console, *step, ticked))
        })
        .collect();
    let left = steps
        .iter()
        .any(|(_, state)| matches!(state, StepState::Open | StepState::OnlySandbox));
    Ok(left.then_some(FirstSteps(steps)))
}

fn state(portal: &Portal, agent: &Agent, console: Option<&str>, step: FirstStep, ticked: bool) -> StepState {
    let company = portal.policy.company.trim();
    let kinds: Vec<&str> = portal.providers.values().map(|connector| connector.profile().kind).collect();
    let done = match step {
        FirstStep::Company => !company.is_empty() && !UNNAMED.contains(&company),
        FirstStep::Provider if !kinds.is_empty() && kinds.iter().all(|kind| *kind == "sandbox") => return StepState::OnlySandbox,
        FirstStep::Provider => !kinds.is_empty(),
        FirstStep::Console => console.is_some_and(|url| url.starts_with("https://")),
        FirstStep::SecondFactor => agent.factors.any(),
        FirstStep::Mail => portal.outgoing.mailer.is_some(),
        FirstStep::Backup => false,
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

pub(crate) async fn hide(portal: &Portal, hidden: bool) -> Result<(), StorageError> {
    let mut said = said(portal).await?;
    match hidden {
        true => said.insert(HIDDEN.to_owned()),
        false => said.remove(HIDDEN),
    };
    keep(portal, &said).await
}

/// Ticks a step off that the portal cannot see; any other is left as it is.
pub(crate) async fn tick(portal: &Portal, step: FirstStep) -> Result<(), StorageError> {
    if !step.can_be_ticked() {
        return Ok(());
    }
    let mut said = said(portal).await?;
    said.insert(step.as_str().to_owned());
    keep(portal, &said).await
}

async fn said(portal: &Portal) -> Result<BTreeSet<String>, StorageError> {
    let words = portal.directory.first_steps().await?;
    Ok(words.split(' ').filter(|w| !w.is_empty()).map(str::to_owned).collect())
}

async fn keep(portal: &Portal, said: &BTreeSet<String>) -> Result<(), StorageError> {
    let words: Vec<&str> = said.iter().map(String::as_str).collect();
    portal.directory.keep_first_steps(&words.join(" ")).await
}
