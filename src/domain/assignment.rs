//! To whom a request is assigned. The row holds an id alone; whether that agent still works on it is decided at reading, so that nothing is lost behind an account that
//! was disabled, deleted or moved to another team: such a request is nobody's.

use super::agent::{Agent, Role, Team};
use super::id::AgentId;
use super::request::DocumentRequest;

/// As much of an account as tells which requests may be assigned to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Colleague {
    pub agent: AgentId,
    /// Those whose requests it sees, as [`Agent::sees`]; `None` for all of them.
    pub teams: Option<Vec<Team>>,
}

impl Colleague {
    /// `None` for an account that works on no request.
    pub fn of(agent: &Agent) -> Option<Self> {
        let works = agent.disabled_at.is_none() && agent.deleted_at.is_none() && agent.role != Role::Auditor;
        works.then(|| Self {
            agent: agent.id,
            teams: (agent.role != Role::Admin).then(|| agent.teams.clone()),
        })
    }

    pub fn works_on(&self, team: Option<&Team>) -> bool {
        self.teams.as_ref().is_none_or(|teams| super::agent::sees(teams, team))
    }
}

/// Which requests a list is cut down to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssignedTo {
    /// Whatever has become of the account: what somebody leaves behind is found by it as well.
    Agent(AgentId),
    /// To none of these, as far as they may work on it.
    Nobody { but: Vec<Colleague> },
}

impl AssignedTo {
    pub fn fits(&self, request: &DocumentRequest) -> bool {
        match self {
            Self::Agent(agent) => request.assigned == Some(*agent),
            Self::Nobody { but } => request
                .assigned
                .is_none_or(|agent| !but.iter().any(|c| c.agent == agent && c.works_on(request.team.as_ref()))),
        }
    }
}
