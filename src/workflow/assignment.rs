//! Who sees to a request: one agent, or nobody. Only to an agent who may see it; whether they still may is looked up whenever it is shown or searched for, so a request
//! of somebody who has left is nobody's again, with no step that could be forgotten.

use std::collections::BTreeMap;

use crate::domain::agent::{Actor, Agent, Team};
use crate::domain::assignment::{AssignedTo, Colleague};
use crate::domain::id::{AgentId, RequestId};
use crate::domain::request::DocumentRequest;
use crate::domain::transition::{AgentAction, Transition};
use crate::storage::StorageError;

use super::{Portal, WorkflowError, terms};

/// An agent as others see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    pub id: AgentId,
    pub name: String,
}

impl Person {
    fn of(agent: &Agent) -> Self {
        Self {
            id: agent.id,
            name: agent.name.clone(),
        }
    }
}

/// Who has a request, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Assignee {
    Nobody,
    /// Nobody, since this one works on it no more: disabled, deleted, or of another team by now.
    Formerly(Person),
    Agent(Person),
}

impl Assignee {
    pub(crate) fn agent(&self) -> Option<&Person> {
        match self {
            Self::Agent(person) => Some(person),
            Self::Nobody | Self::Formerly(_) => None,
        }
    }
}

/// Whose requests somebody looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WantedAssignee {
    /// Of whoever asks.
    Me,
    Nobody,
    Agent(AgentId),
}

impl WantedAssignee {
    pub(crate) const ACCEPTED: &str = "me, none, or an agent's id";

    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "me" => Some(Self::Me),
            "none" => Some(Self::Nobody),
            id => AgentId::parse(id).map(Self::Agent),
        }
    }

    /// The agent that it names; `None`: nobody.
    pub(crate) fn named(self, field: &'static str, me: Option<AgentId>) -> Result<Option<AgentId>, WorkflowError> {
        match self {
            Self::Nobody => Ok(None),
            Self::Agent(id) => Ok(Some(id)),
            Self::Me => me.map(Some).ok_or_else(|| WorkflowError::Invalid {
                field,
                fix: "must be an agent's id: me is the agent who made the API key, and no agent made this one".to_owned(),
            }),
        }
    }
}

/// Idempotent: whoever has it already gets nothing new, and the log neither.
pub(crate) async fn assign(portal: &Portal, id: RequestId, to: Option<AgentId>, by: Actor) -> Result<DocumentRequest, WorkflowError> {
    let request = terms::load(portal, id).await?;
    if let Some(agent) = to {
        // One answer for whoever is unknown and whoever may not see it: it tells no team who is in another.
        let may = colleagues(portal, request.team.as_ref()).await?;
        if !may.iter().any(|person| person.id == agent) {
            return Err(WorkflowError::Invalid {
                field: "agent",
                fix: "must be an agent who can sign in and may see this request".to_owned(),
            });
        }
    }
    let action = AgentAction::Assign { to };
    Ok(portal.requests.transition(id, Transition::Agent { by, action }).await?)
}

/// To whom a request of this team may be assigned, by name.
pub(crate) async fn colleagues(portal: &Portal, team: Option<&Team>) -> Result<Vec<Person>, WorkflowError> {
    let agents = portal.directory.agents().await?;
    let may = agents.iter().filter(|agent| Colleague::of(agent).is_some_and(|c| c.works_on(team)));
    let mut people: Vec<_> = may.map(Person::of).collect();
    people.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    Ok(people)
}

pub(crate) async fn found_by(portal: &Portal, wanted: WantedAssignee, me: Option<AgentId>) -> Result<AssignedTo, WorkflowError> {
    Ok(match wanted.named("assigned", me)? {
        Some(agent) => AssignedTo::Agent(agent),
        None => AssignedTo::Nobody {
            but: portal.directory.agents().await?.iter().filter_map(Colleague::of).collect(),
        },
    })
}

/// Everybody whom a few requests may be assigned to; nobody is looked up where none is.
pub(crate) struct People(BTreeMap<AgentId, Agent>);

impl People {
    pub(crate) async fn of(portal: &Portal, requests: &[DocumentRequest]) -> Result<Self, StorageError> {
        if requests.iter().all(|request| request.assigned.is_none()) {
            return Ok(Self(BTreeMap::new()));
        }
        let agents = portal.directory.agents().await?;
        Ok(Self(agents.into_iter().map(|agent| (agent.id, agent)).collect()))
    }

    pub(crate) fn assignee(&self, request: &DocumentRequest) -> Assignee {
        let Some(id) = request.assigned else { return Assignee::Nobody };
        match self.0.get(&id) {
            Some(agent) if Colleague::of(agent).is_some_and(|c| c.works_on(request.team.as_ref())) => Assignee::Agent(Person::of(agent)),
            Some(agent) => Assignee::Formerly(Person::of(agent)),
            // A row that was changed outside of the portal is in no list.
            None => Assignee::Formerly(Person { id, name: id.to_string() }),
        }
    }
}
