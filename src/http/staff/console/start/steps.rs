//! The first steps on the overview of a new portal, for admins.

use maud::{Markup, html};

use crate::domain::first_step::FirstStep;
use crate::workflow::query::first_steps::{FirstSteps, StepState};

/// The list, with what each step asks for.
pub(crate) fn list(steps: &FirstSteps) -> Markup {
    let done = steps.0.iter().filter(|(_, state)| is_done(*state)).count();
    html! {
        section.card aria-labelledby="first-steps" {
            h2 id="first-steps" { "First steps " span.quiet { (done) " of " (steps.0.len()) " done" } }
            ul.list {
                @for (step, state) in &steps.0 {
                    li.row {
                        div {
                            strong { (title(*step)) } " " (chip(*state))
                            @if !is_done(*state) { br; span.quiet { (how(*step, *state)) } }
                        }
                        @if !is_done(*state) && step.can_be_ticked() {
                            form method="post" action="/first-steps" {
                                button.plain name="done" value=(step.as_str()) { "Done" span.hidden { " " (title(*step)) } }
                            }
                        }
                    }
                }
            }
            form.actions method="post" action="/first-steps" { button.plain name="hide" value="yes" { "Hide this list" } }
        }
    }
}

fn is_done(state: StepState) -> bool {
    matches!(state, StepState::Done | StepState::TickedOff)
}

fn chip(state: StepState) -> Markup {
    html! {
        @match state {
            StepState::Done | StepState::TickedOff => span.chip.good { "Done" },
            StepState::Open => span.chip.busy { "Open" },
            StepState::OnlySandbox => span.chip.busy { "Sandbox only" },
        }
    }
}

fn title(step: FirstStep) -> &'static str {
    match step {
        FirstStep::Company => "Name your company",
        FirstStep::Provider => "Connect a provider",
        FirstStep::Console => "Give the console an address",
        FirstStep::SecondFactor => "Protect your account",
        FirstStep::Mail => "Let the portal send mail",
        FirstStep::Backup => "Make a backup, and know how to use it",
    }
}

fn how(step: FirstStep, state: StepState) -> Markup {
    html! {
        @match (step, state) {
            (FirstStep::Company, _) => { "Applicants read it on their page. Set " code { "name" } " and " code { "support" } " under " code { "[company]" } " in nightdrop.toml." },
            (FirstStep::Provider, StepState::OnlySandbox) => { "You can try everything now: the sandbox takes documents and nothing leaves this machine. Before real documents come, add your provider’s table to nightdrop.toml: " a href="/docs" { "which lines it takes" } "." },
            (FirstStep::Provider, _) => { "Without one no document can be asked for. Add a " code { "[providers.NAME]" } " table to nightdrop.toml: " a href="/docs" { "which lines it takes" } ". To try the portal before there is a contract: " code { "[providers.sandbox]" } ", and below it " code { "kind = \"sandbox\"" } "." },
            (FirstStep::Console, _) => { "It has no https address yet, so your team cannot reach it from other machines safely. Put a reverse proxy in front and set " code { "staff_url" } " in nightdrop.toml; passkeys and links in mails need it too. If it stays on this machine, tick it off." },
            (FirstStep::SecondFactor, _) => { "A password is all that protects it. " a href="/account" { "Add a passkey or an authenticator app" } "." },
            (FirstStep::Mail, _) => { "Links to applicants and invitations can then be sent from here. Set " code { "[mail]" } " in nightdrop.toml; or tick it off, if you do without." },
            (FirstStep::Backup, _) => { "Take one with " code { "nightdrop backup" } "; docs/operations/backup.md says how often, where to, and how to try it. If you have another way, tick this off; erasure slots must be in no backup." },
        }
    }
}
