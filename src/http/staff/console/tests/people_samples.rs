//! A sample of everything that the pages about people show.

use crate::domain::agent::{Agent, ApiKey, AuthMethod, Role, Scope, Session};
use crate::domain::factors::Factors;
use crate::domain::id::{AgentId, ApiKeyId};
use crate::http::staff::console::admin::people_page;
use crate::http::staff::console::sign_in::page::Offer;
use crate::http::staff::console::{account, invitation};
use crate::workflow::sign_in::OpenSession;

use super::samples::Samples;

impl Samples {
    pub(super) fn people_pages(&self) -> Vec<(&'static str, maud::Markup)> {
        let (agent, form, problem, now) = (self.agent(Role::Admin), self.form(), self.problem(), self.now);
        let other = Agent {
            id: AgentId([2; 16]),
            ..self.agent(Role::Auditor)
        };
        let (invited, disabled) = (
            Agent {
                password: None,
                factors: Factors::default(),
                ..other.clone()
            },
            Agent {
                disabled_at: Some(now),
                teams: Vec::new(),
                ..other.clone()
            },
        );
        let all = [other.clone(), invited.clone(), disabled.clone()];
        let mut pages = Vec::new();
        for way in [people_page::Way::Invitation, people_page::Way::Password] {
            let list = people_page::AgentsPage {
                agent: &agent,
                all: &all,
                shortest: 15,
                mail: way == people_page::Way::Password,
                now,
                typed: &form,
                done: None,
                problem: Some((way, &problem)),
            };
            pages.push(("agents", people_page::agents(&list)));
        }
        let session = OpenSession {
            name: self.text(),
            session: self.session(&other),
            here: false,
        };
        for other in [&other, &invited, &disabled] {
            let page = people_page::AgentPage {
                agent: &agent,
                other,
                sessions: std::slice::from_ref(&session),
                shortest: 15,
                now,
                done: None,
                problem: Some(&problem),
            };
            pages.push(("agent", people_page::agent(&page)));
        }
        let welcome = invitation::page::InvitationPage {
            company: &self.text,
            agent: &invited,
            token: &self.text,
            offer: Offer::Here,
            shortest: 15,
            problem: Some(&problem),
        };
        pages.extend([
            ("disable", people_page::disable(&agent, &other)),
            ("delete", people_page::delete(&agent, &other, &[self.key(&other)])),
            ("new link", people_page::new_link(&agent, &other, true, now - time::Duration::HOUR)),
            ("link made", people_page::link_made(&agent, &other, &self.text, now)),
            ("invitation", invitation::page::form(&welcome)),
            ("first password", account::factors::first_password(&agent, 15, Some(&problem))),
        ]);
        pages
    }

    pub(super) fn session(&self, agent: &Agent) -> Session {
        Session {
            agent: agent.id,
            created_at: self.now,
            seen_at: self.now,
            factor_at: None,
            how: AuthMethod::Passkey,
            browser: self.text(),
        }
    }

    pub(super) fn key(&self, made_by: &Agent) -> ApiKey {
        ApiKey {
            id: ApiKeyId([1; 16]),
            name: self.text(),
            scopes: vec![Scope::Read],
            created_at: self.now,
            expires_at: Some(self.now),
            revoked_at: None,
            used_at: Some(self.now),
            team: None,
            made_by: Some(made_by.id),
        }
    }
}
