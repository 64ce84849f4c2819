//! Samples of the pages on which agents ask for documents.

use super::*;
use crate::domain::saved_view::SavedView;
use crate::workflow::assignment::Person;
use crate::workflow::notes::OpenedNote;

impl Samples {
    pub(super) fn notes(&self) -> Vec<OpenedNote> {
        let note = |text| OpenedNote {
            by: crate::domain::transition::tests::by(),
            at: self.now,
            text,
        };
        vec![note(Some(self.text())), note(None)]
    }

    pub(super) fn person(&self) -> Person {
        Person {
            id: AgentId([1; 16]),
            name: self.text(),
        }
    }

    pub(super) fn again_page(&self) -> maud::Markup {
        let form = again::page::TypedForm {
            path: "/requests/new",
            back: "/requests/new",
            pairs: &[(self.text(), self.text()), ("once".to_owned(), self.text())],
        };
        again::page::typed(&self.agent(Role::Agent), &form)
    }

    pub(super) fn bulk_pages(&self) -> Vec<(&'static str, maud::Markup)> {
        let (agent, problem, rows) = (self.agent(Role::Agent), self.problem(), self.rows());
        let mut pages = Vec::new();
        for act in bulk::page::Act::ALL {
            let page = bulk::page::SurePage {
                agent: &agent,
                act,
                rows: &rows,
                lives: &[(self.text(), self.text())],
                once: &self.text,
                now: self.now,
                problem: Some(&problem),
            };
            pages.push(("sure", bulk::page::sure(&page)));
        }
        let link = || bulk::page::BulkResult::Link {
            url: self.text(),
            passcode: Some(self.text()),
        };
        let made = [
            link(),
            bulk::page::BulkResult::Done("Done"),
            bulk::page::BulkResult::Refused(self.text()),
        ];
        let results: Vec<_> = self.rows().into_iter().zip(made).collect();
        pages.push(("results", bulk::page::results(&agent, &results)));
        pages
    }

    pub(super) fn saved_views(&self) -> Vec<SavedView> {
        vec![SavedView {
            name: self.text(),
            filter: "state=awaiting".to_owned(),
        }]
    }

    pub(super) fn views_pages(&self) -> Vec<(&'static str, maud::Markup)> {
        let (agent, problem, views) = (self.agent(Role::Agent), self.problem(), self.saved_views());
        let search = Search {
            state: Some(self.text()),
            ..Search::default()
        };
        let page = |unsaved, wrong, problem| views::page::ViewsPage {
            agent: &agent,
            views: &views,
            unsaved,
            wrong,
            done: None,
            problem,
        };
        vec![
            ("views", views::page::list(&page(None, None, None))),
            (
                "view not saved",
                views::page::list(&page(Some((&self.text, &search)), None, Some(&problem))),
            ),
            (
                "view not renamed",
                views::page::list(&page(None, Some((&self.text, &self.text)), Some(&problem))),
            ),
        ]
    }

    pub(super) fn asking_pages(&self) -> Vec<(&'static str, maud::Markup)> {
        let (agent, choices, form, problem) = (self.agent(Role::Agent), self.choices(), self.form(), self.problem());
        let handed = HandedOver {
            message: LinkMessage {
                url: self.text(),
                passcode: Some(Code::Shown(self.text())),
                message: self.message(),
                reminder: self.message(),
                qr_svg: self.text(),
            },
            mailed: None,
        };
        let missing = |known| ask::page::MissingRow {
            known,
            name: self.text(),
            parts: vec![self.text()],
            reason: Some(self.text()),
            applicant: Some(self.text()),
            once: self.text(),
            open: self.rows().pop(),
        };
        let missing = [missing(None), missing(Some((self.text(), self.text())))];
        let row = self.rows().remove(0);
        let issued = ask::page::IssuedPage {
            agent: &agent,
            row: &row,
            handed: &handed,
            mail: true,
            missing: Some(ask::page::MissingOf {
                provider: self.text(),
                applicant: self.text(),
            }),
        };
        let no_list = problem.clone().code("provider.cannot_list");
        let (rows, now) = (self.rows(), self.now);
        let asking = |problem, open| {
            ask::page::form(&ask::page::AskPage {
                agent: &agent,
                choices: &choices,
                typed: &form,
                once: &self.text,
                problem,
                open,
                now,
            })
        };
        let wanting = |found, problem| {
            ask::page::missing(&ask::page::MissingPage {
                agent: &agent,
                choices: &choices,
                typed: &form,
                found,
                problem,
                now,
            })
        };
        vec![
            ("ask", asking(Some(&problem), &[])),
            ("ask", asking(None, &rows)),
            ("issued", ask::page::issued(&issued)),
            ("send", ask::page::send(&agent, &row.request, &self.text, &form, &problem)),
            ("fresh code", ask::page::fresh_code(&agent, &row.request, &self.text)),
            ("missing", wanting(Some(&missing), None)),
            ("missing", wanting(None, Some(&no_list))),
            (
                "docs",
                docs::page::page(&agent, &format!("# {0}\n\n- {0}\n\n| {0} |", self.text), false),
            ),
        ]
    }
}
