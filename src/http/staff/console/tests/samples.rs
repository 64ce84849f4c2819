//! A sample of everything that a page of the console shows.

mod desk;

use std::collections::BTreeMap;

use time::{OffsetDateTime, Time};
use zeroize::Zeroizing;

use crate::domain::agent::{Actor, Agent, Invitation, PasswordKind, Role};
use crate::domain::audit::{AuditAction, AuditEntry, AuditEvent};
use crate::domain::delivery::{BY_HAND, Delivery, DeliveryProblem, PassedOn, Phase, PurgeCause};
use crate::domain::dispatch::{Body, Channel, Dispatch, Progress};
use crate::domain::document::SealedText;
use crate::domain::factors::{Factors, FailedAttempts, Passkey};
use crate::domain::first_step::FirstStep;
use crate::domain::id::{AgentId, DispatchId, DocumentId};
use crate::domain::message::Template;
use crate::domain::outcome::Outcome;
use crate::domain::receipt::{DeletionReceipt, Erasure, SignedReceipt};
use crate::domain::request::{DocumentRequest, RequestState, Stage, Tombstone};
use crate::domain::transition::tests as samples;
use crate::http::error::Problem;
use crate::http::extract::form::Form;
use crate::http::staff::input::Search;
use crate::http::staff::view::{portal, request as view};
use crate::storage::clock::Standing;
use crate::storage::outbox::NotificationPreferences;
use crate::workflow::assignment::Assignee;
use crate::workflow::issue::Code;
use crate::workflow::link_message::{HandedOver, LinkMessage};
use crate::workflow::message::Message;
use crate::workflow::query::attention::Attention;
use crate::workflow::query::audit::{AuditFound, AuditSearch};
use crate::workflow::query::first_steps::{FirstSteps, StepState};
use crate::workflow::query::names::Names;
use crate::workflow::query::outgoing::{DispatchLog, Receivers};
use crate::workflow::query::requests::{Detail, Listed, Row, Whole};
use crate::workflow::sign_in::OpenSession;

use crate::http::staff::console::sign_in::page::Offer;
use crate::http::staff::console::{
    account, admin, again, ask, audit, bulk, docs, manual_download, messages, outgoing, requests, sign_in, start, views,
};

/// The samples, with one text wherever somebody else chose one.
pub(super) struct Samples {
    pub(super) text: String,
    pub(super) now: OffsetDateTime,
}

impl Samples {
    pub(super) fn text(&self) -> String {
        self.text.clone()
    }

    pub(super) fn agent(&self, role: Role) -> Agent {
        let passkey = Passkey {
            id: vec![1],
            name: self.text(),
            credential: SealedText(Vec::new()),
            made_at: self.now,
            used_at: Some(self.now),
        };
        Agent {
            id: AgentId([1; 16]),
            email: self.text(),
            name: self.text(),
            role,
            password: Some(crate::domain::agent::PasswordHash(String::new())),
            password_kind: PasswordKind::Temporary,
            invitation: Some(Invitation {
                hash: [1; 32],
                expires_at: self.now,
            }),
            signed_in_at: Some(self.now),
            deleted_at: None,
            known_by: Vec::new(),
            created_at: self.now,
            disabled_at: None,
            sessions_valid_from: self.now,
            factors: Factors {
                passkeys: vec![passkey],
                ..Factors::default()
            },
            teams: Vec::new(),
            subject: None,
            misses: FailedAttempts::default(),
        }
    }

    pub(super) fn problem(&self) -> Problem {
        ["name", "applicant", "password", "subject", "body", "code", "scopes", "document"]
            .into_iter()
            .fold(Problem::invalid(self.text()), |problem, field| problem.field(field, self.text()))
    }

    pub(super) fn form(&self) -> Form {
        let names = [
            "name",
            "email",
            "teams",
            "team",
            "provider",
            "applicant",
            "document",
            "part",
            "message",
            "expires_in",
        ];
        Form::of(&names.map(|name| (name, self.text.as_str())))
    }

    fn reason(&self) -> DeliveryProblem {
        DeliveryProblem::new(self.text(), self.text())
    }

    /// Open, held by hand, and purged after a rejection.
    fn requests(&self) -> Vec<DocumentRequest> {
        let open = DocumentRequest {
            locale: Some("de".to_owned()),
            ..samples::request(true)
        };
        let document = samples::document(1, self.now, true);
        let stone = Tombstone {
            document: DocumentId([1; 16]),
            cause: PurgeCause::Rejected(self.reason()),
            passed_on: PassedOn::Yes,
            parts: vec![self.text()],
            received_at: self.now,
            purged_at: self.now,
            receipt: 1,
            generation: 1,
            receiver: None,
            lengths: vec![1],
        };
        let mut by_hand = self.reason();
        BY_HAND.clone_into(&mut by_hand.code);
        let phases = [
            Phase::NeedsAttention {
                since: self.now,
                problem: by_hand,
            },
            Phase::NeedsAttention {
                since: self.now,
                problem: self.reason(),
            },
            Phase::Pending { not_before: self.now },
        ];
        let held = phases.map(|phase| DocumentRequest {
            stage: Stage::Held {
                document: document.clone(),
                delivery: Delivery {
                    last_problem: Some(self.reason()),
                    attempts: 1,
                    phase,
                    ..Delivery::new(self.now)
                },
                purge_requested: false,
            },
            ..open.clone()
        });
        let purged = DocumentRequest {
            stage: Stage::Purged,
            tombstones: vec![stone],
            ..open.clone()
        };
        [open, purged].into_iter().chain(held).collect()
    }

    fn rows(&self) -> Vec<Row> {
        let row = |request| Row {
            request,
            applicant: Some(self.text()),
            ticket: Some(self.text()),
            label: self.text(),
            by_hand: true,
            assignee: Assignee::Agent(self.person()),
        };
        let altered = Row {
            applicant: None,
            ..row(samples::request(false))
        };
        self.requests().into_iter().map(row).chain([altered]).collect()
    }

    fn names(&self) -> Names {
        Names(BTreeMap::from([
            (samples::by().to_string(), self.text()),
            (self.text(), self.text()),
        ]))
    }

    fn entry(&self) -> AuditEntry {
        let event = AuditEvent {
            request: Some(samples::request(false).id),
            detail: vec![(self.text(), self.text())],
            ..AuditEvent::new(self.now, samples::by(), AuditAction::LinkExtended)
        };
        AuditEntry {
            sequence: 7,
            event,
            hash: [0; 32],
        }
    }

    fn dispatch(&self) -> Dispatch {
        Dispatch {
            id: DispatchId([1; 16]),
            channel: Channel::Hook(self.text()),
            ordering_key: [0; 16],
            order: 1,
            kind: self.text(),
            request: Some(samples::request(false).id),
            generation: 1,
            created_at: self.now,
            give_up_at: self.now,
            attempts: 2,
            fence: 1,
            last: Some(self.text()),
            body: Body::Event(self.text()),
            progress: Progress::Failed(self.now),
        }
    }

    fn message(&self) -> Message {
        Message {
            subject: self.text(),
            body: self.text(),
        }
    }

    fn choices(&self) -> ask::page::Choices {
        let choice = vec![(self.text(), self.text())];
        ask::page::Choices {
            providers: vec![(self.text(), "sandbox")],
            documents: choice.clone(),
            lives: choice,
            passcode_required: false,
            mail: true,
        }
    }

    fn whole(&self, row: Row) -> Whole {
        Whole {
            detail: Detail {
                row,
                now: self.now,
                metadata: Some(serde_json::json!({ self.text(): self.text() }).to_string()),
                notes: self.notes(),
                timeline: vec![self.entry()],
            },
            message: Some(self.text()),
            names: self.names(),
            dispatches: vec![self.dispatch()],
            colleagues: vec![self.person()],
        }
    }

    /// Every page there is, by name.
    pub(super) fn pages(&self) -> Vec<(&'static str, maud::Markup)> {
        let mut pages = self.request_pages();
        pages.push(("typed", self.again_page()));
        pages.extend(self.bulk_pages());
        pages.extend(self.views_pages());
        pages.extend(self.asking_pages());
        pages.extend(self.account_pages());
        pages.extend(self.admin_pages());
        pages.extend(self.people_pages());
        pages
    }

    fn request_pages(&self) -> Vec<(&'static str, maud::Markup)> {
        let (agent, problem, names, now) = (self.agent(Role::ManualHandler), self.problem(), self.names(), self.now);
        let mut pages = Vec::new();
        for problem in [None, Some(&problem)] {
            let text = || Some(self.text());
            let search = Search {
                applicant: text(),
                state: text(),
                outcome: text(),
                find: text(),
                provider: text(),
                agent: text(),
                older_than: text(),
                ..Search::default()
            };
            let listed = Listed {
                rows: self.rows(),
                next: text(),
                cut: true,
            };
            let views = self.saved_views();
            let page = requests::page::ListPage {
                agent: &agent,
                search: &search,
                listed: &listed,
                views: &views,
                names: &names,
                providers: vec![self.text()],
                now,
                problem,
            };
            pages.push(("requests", requests::page::list(&page)));
        }
        for row in self.rows() {
            for what in [
                requests::page::Confirm::Revoke,
                requests::page::Confirm::Purge,
                requests::page::Confirm::Uploaded,
            ] {
                pages.push(("confirm", requests::page::confirm(&agent, &row, what)));
            }
            pages.push(("by hand", manual_download::page::page(&agent, &row, now, None)));
            pages.push(("receipt", requests::page::receipt(&agent, &self.text, &row, &self.receipt())));
            let whole = self.whole(row);
            let page = requests::page::ShowPage {
                agent: &agent,
                shown: &view::detail(&whole.detail),
                longer: vec![(self.text(), self.text())],
                passcode_required: false,
                once: self.text(),
                whole: &whole,
                done: None,
            };
            pages.push(("request", requests::page::show(&page)));
        }
        pages
    }

    fn receipt(&self) -> SignedReceipt {
        let erasure = Erasure {
            request: samples::request(false).id,
            document: DocumentId([1; 16]),
            slot: samples::slot(1),
            cause: self.text(),
            class: self.text(),
            method: self.text(),
            parts: 2,
            received_at: self.now,
            erased_at: self.now,
            purged_at: self.now,
        };
        SignedReceipt {
            receipt: DeletionReceipt::chain(1, [0; 32], erasure),
            text: self.text(),
        }
    }

    fn account_pages(&self) -> Vec<(&'static str, maud::Markup)> {
        let (agent, problem) = (self.agent(Role::Agent), self.problem());
        let detail = Some(self.text.as_str());
        let mut pages = Vec::new();
        for offer in [Offer::Here, Offer::At(self.text()), Offer::Nowhere] {
            pages.push(("second", sign_in::page::second(&offer, &agent, &self.text, detail)));
            pages.push(("confirm", account::factors::confirm(&agent, true, &offer, &self.text, detail)));
            pages.push(("passkey", account::factors::passkey(&agent, &offer, Some(&problem))));
            let page = sign_in::page::SignInPage {
                company: &self.text,
                sso: detail,
                offer,
                email: &self.text,
                next: &self.text,
                refused: detail,
            };
            pages.push(("sign in", sign_in::page::sign_in(&page)));
        }
        let own = account::page::OwnPage {
            agent: &agent,
            offer: Offer::At(self.text()),
            sessions: vec![OpenSession {
                name: self.text(),
                session: self.session(&agent),
                here: false,
            }],
            shortest: 15,
            demanded: true,
            now: self.now,
            done: None,
            problem: Some(&problem),
        };
        let app = account::factors::AppOffer {
            picture: self.text(),
            spoken: Zeroizing::new(self.text()),
            sealed: &self.text,
        };
        pages.extend([
            ("own", account::page::own(&own)),
            ("app", account::factors::app(&agent, &app, Some(&problem))),
            ("codes", account::factors::codes(&agent, &[Zeroizing::new(self.text())])),
        ]);
        pages
    }

    fn admin_pages(&self) -> Vec<(&'static str, maud::Markup)> {
        let (agent, form, problem, now) = (self.agent(Role::Admin), self.form(), self.problem(), self.now);
        let key = self.key(&agent);
        let to = Receivers {
            mail: false,
            hooks: vec![self.text()],
            digest_at: Time::MIDNIGHT,
        };
        let log = DispatchLog {
            dispatches: vec![self.dispatch()],
            next: Some(self.text()),
        };
        let attention = Attention {
            stuck: self.rows(),
            by_hand: self.rows(),
            rejected: self.rows(),
            purged_soon: self.rows(),
            expiring: self.rows(),
            counts: vec![(RequestState::Awaiting, 1)],
            outcomes: Outcome::ALL.iter().map(|outcome| (*outcome, 1)).collect(),
            locked: true,
            absent: false,
            clock: Standing::Ahead,
            altered: vec![self.text()],
            last_backup: Some(now),
            mail: true,
            now,
        };
        let states = [StepState::Done, StepState::TickedOff, StepState::Open, StepState::OnlySandbox].into_iter();
        let steps = FirstSteps(FirstStep::ALL.iter().copied().zip(states.cycle()).collect());
        let found = AuditFound {
            entries: vec![self.entry()],
            looked_from: 5,
            before: 8,
            newest: 9,
            names: self.names(),
        };
        let search = AuditSearch {
            action: self.text(),
            actor: self.text(),
            request: self.text(),
            ..AuditSearch::default()
        };
        let template = messages::page::TemplateRow {
            kind: self.text(),
            label: self.text(),
            template: Template {
                document: None,
                language: self.text(),
                subject: self.text(),
                body: self.text(),
                changed_at: now,
                changed_by: Actor::Operator,
            },
        };
        let wording = messages::page::TemplatePage {
            agent: &agent,
            kind: &self.text,
            label: &self.text,
            words: crate::words::english(),
            own: true,
            subject: &self.text,
            body: &self.text,
            preview: Some(self.message()),
            problem: Some(&problem),
        };
        let (status, vault, provider) = self.portal();
        let kinds = [(self.text(), self.text())];
        let preferences = NotificationPreferences::default();
        vec![
            ("start", start::page::page(&agent, &attention, Some(&steps), true, None)),
            ("audit", audit::page::page(&agent, &found, &search)),
            (
                "admin",
                admin::page::overview(&agent, &status, &vault, &[provider], true, None, Some(&problem)),
            ),
            (
                "keys",
                admin::page::keys(&agent, std::slice::from_ref(&key), &form, None, Some(&problem)),
            ),
            ("key made", admin::page::key_made(&agent, &key, &self.text)),
            ("revoke", admin::page::revoke(&agent, &key)),
            ("messages", messages::page::list(&agent, &[template], &kinds, now, None)),
            ("message", messages::page::form(&wording)),
            ("outgoing", outgoing::page::list(&agent, &to, &log, now, None)),
            ("notices", outgoing::page::notices(&agent, &to, preferences, None)),
        ]
    }

    fn portal(&self) -> (portal::Status, portal::Vault, portal::Provider) {
        let status = portal::Status {
            version: "1",
            commit: "1",
            layout: 1,
            assurance: portal::Assurance {
                class: self.text(),
                file_system: self.text(),
                reasons: vec![self.text()],
            },
            locked: true,
            clock_suspect: true,
            clock: "behind",
            slots_free: 1,
            last_backup: None,
            uploads_running: 1,
            requests: BTreeMap::new(),
        };
        let key = portal::VaultKey {
            id: self.text(),
            suite: "suite",
            state: "current",
            unlocked: false,
            protection: Some("passphrase"),
            live_documents: 1,
        };
        let provider = portal::Provider {
            name: self.text(),
            kind: "sandbox",
            confirm: "verdict",
            lists_missing: true,
            by_hand: false,
            paused: true,
        };
        (
            status,
            portal::Vault {
                locked: true,
                absent: false,
                keys: vec![key],
            },
            provider,
        )
    }
}
