//! Why a part or a document did not arrive.

use crate::chain::Cause;
use crate::crypto::seal::SealError;
use crate::domain::transition::Refusal;
use crate::inspect;
use crate::storage::StorageError;
use crate::workflow::WorkflowError;

#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The file is not acceptable: say why next to its input.
    #[error("{part}: {refusal}")]
    File { part: String, refusal: inspect::Refusal },
    #[error(transparent)]
    Workflow(WorkflowError),
    /// No erasure slot or no disk space is free.
    #[error("no erasure slot or no disk space is free")]
    Full,
    /// The client went away or was too slow.
    #[error("the client went away or was too slow")]
    CutOff,
}

impl IntakeError {
    /// Decided by the state of the request.
    pub(super) fn refused(refusal: Refusal) -> Self {
        Self::Workflow(WorkflowError::Refused(refusal))
    }

    pub(super) fn is_superseded(&self) -> bool {
        matches!(self, Self::Workflow(WorkflowError::Refused(Refusal::Superseded)))
    }
}

impl From<WorkflowError> for IntakeError {
    fn from(error: WorkflowError) -> Self {
        match error {
            WorkflowError::Storage(StorageError::Full) => Self::Full,
            other => Self::Workflow(other),
        }
    }
}

impl From<StorageError> for IntakeError {
    fn from(error: StorageError) -> Self {
        WorkflowError::from(error).into()
    }
}

impl From<SealError> for IntakeError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Random(_) => Self::Workflow(WorkflowError::Random),
            other => Self::Workflow(WorkflowError::Internal(Cause::new(other))),
        }
    }
}
