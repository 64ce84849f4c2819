//! The passcode of a link: one try is spent durably before the code is looked at.

use crate::domain::request::DocumentRequest;
use crate::domain::transition::{IntakeStep, Transition};
use crate::workflow::{Portal, WorkflowError, blocking};

/// What became of one try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PasscodeTry {
    Right,
    Wrong { left: u8 },
}

/// Spends one try durably, then looks at the code.
pub(crate) async fn try_passcode(portal: &Portal, request: &DocumentRequest, code: &str) -> Result<PasscodeTry, WorkflowError> {
    let permit = portal.auth.checking.turn().await?;
    let spend = Transition::Intake(IntakeStep::SpendPasscodeTry);
    let request = portal.requests.transition(request.id, spend).await?;
    let lock = request.link.passcode.ok_or(WorkflowError::NotFound)?;
    let (passwords, code) = (portal.auth.passwords.clone(), code.to_owned());
    let right = blocking(move || {
        // The permit goes where the work is: a client that hangs up frees no place for the next one.
        let _permit = permit;
        passwords.verify_passcode(&code, &lock.hash)
    })
    .await?;
    Ok(if right {
        PasscodeTry::Right
    } else {
        PasscodeTry::Wrong { left: lock.tries_left }
    })
}
