//! The one way out of a lost part: what is missing is made anew, and everything that can no longer be kept as promised is said to be so. Held documents that nobody can
//! read are lost and may be asked for again; where the store cannot be trusted to be the newest, its open links are withdrawn and its sessions end, because each of them
//! may have been used since.
//!
//! Looking changes nothing but what opening the store does. Applying may be cut off at any point and run again: the note of what is being done is written first and taken
//! away last, and no start goes past it. Nothing is thrown away: a part that belongs to somebody else is set aside under another name.

mod aside;
mod note;
mod restore;

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::checkpoints::{RECOVERED_ROW, check_against_checkpoints};
use super::data_folder::{self, PORTAL_ROW, SLOTS_ROW};
use super::identity::{Condition, Label, Part, PortalId, Survey};
use super::layout::{Layout, StoreKind};
use super::slots_growth;
use super::vault_key::{self, KeyProtection};
use super::{StartError, refused};
use crate::chain::chain;
use crate::config::Config;
use crate::crypto::envelope::{KeyId, Suite};
use crate::crypto::erase::ErasureStore;
use crate::crypto::keyring::{KeyUnavailable, Keyring};
use crate::crypto::secrets::PortalSecrets;
use crate::crypto::slots::SlotsFile;
use crate::domain::agent::{Actor, ApiKey};
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::delivery::{PassedOn, Phase};
use crate::domain::request::{DocumentRequest, RequestState, Stage};
use crate::domain::transition::{AgentAction, EndOf, IntakeStep, Transition};
use crate::storage::clock::{Source, to_ms};
use crate::storage::sled::SledStore;
use crate::storage::sled::durable::Options;
use crate::storage::sled::error::MarkStanding;
use crate::storage::sled::error::StoreError;
use crate::storage::sled::mark::MarkFile;
use crate::storage::{AuditLog, Directory, RequestStore};
use crate::workflow::backup::read::BackupFile;
use crate::workflow::vault;

use aside::{files_ending, set_aside};
pub(crate) use note::Unfinished;
use note::{Losses, read_note, write_note};
use restore::Backup;

/// What the operator asks for beyond what is found.
#[derive(Default)]
pub(crate) struct RecoveryOptions {
    /// The vault key is lost, or what opens it: another one, protected like this.
    pub new_key: Option<KeyProtection>,
    /// A store that is here but cannot be opened is given up.
    pub new_store: bool,
    /// What is lost is taken from here, as far as it is in it.
    pub from: Option<BackupFile>,
    /// Open links stay, although they may have been used since.
    pub keep_links: bool,
}

/// A stopped portal that was looked at, and is held until this is dropped.
pub(crate) struct Recovery {
    config: Config,
    layout: Layout,
    portal: PortalId,
    options: RecoveryOptions,
    losses: Losses,
    /// Parts to be made, and parts that only need their label.
    make: BTreeSet<Part>,
    relabel: BTreeSet<Part>,
    /// What of `make` is taken from the backup, and so is not lost.
    restore: BTreeSet<Part>,
    backup: Option<Backup>,
    store: Option<SledStore>,
    found: Vec<String>,
    again: bool,
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub documents_lost: u64,
    pub links_withdrawn: u64,
    pub sessions_ended: u64,
    /// The keys that still work; look at each of them.
    pub api_keys: Vec<ApiKey>,
    /// Nobody can sign in until somebody is added.
    pub needs_people: bool,
    /// Parts of somebody else's, or damaged ones, that now have another name.
    pub set_aside: Vec<PathBuf>,
}

fn failed(what: &str) -> impl FnOnce(&(dyn std::error::Error + 'static)) -> StartError + '_ {
    refused(what)
}

impl Recovery {
    /// Looks at a stopped portal. Fails where it runs, where there is nothing to recover from, and where only a person can say more.
    pub(crate) async fn look(config: &Config, mut options: RecoveryOptions) -> Result<Self, StartError> {
        let layout = Layout::of(config);
        if layout.kind == StoreKind::Postgres {
            return Err(StartError::Refused(
                "the records of this portal are in PostgreSQL, which this command does not recover: restore the database with its own tools, and the keys folder from your copy \
                 (docs/operations/postgresql.md)"
                    .to_owned(),
            ));
        }
        let note = read_note(&layout)?;
        let survey = Survey::of(&layout);
        if let Some(mismatch) = survey.mismatch(&layout) {
            return Err(StartError::Refused(mismatch));
        }
        let backup = options.from.take().map(Backup::read).transpose()?;
        if survey.is_empty() && note.is_none() && backup.is_none() {
            return Err(StartError::Refused(format!(
                "{} holds nothing of a portal: if its disk is not mounted, mount it; otherwise `nightdrop init` makes one, and `{} --from FILE` restores one from a backup",
                layout.data.display(),
                layout.recover_with("")
            )));
        }
        if survey.undecided() {
            let faults = survey.faults(&layout).join("; ");
            return Err(StartError::Refused(format!("{faults}; fix that first, nothing was changed")));
        }
        let (portal, losses) = match note {
            Some((portal, losses)) => (portal, losses),
            None => {
                let random = || PortalId::random().map_err(|e| failed("the portal's id")(&e));
                let known = survey.portal().or(backup.as_ref().map(Backup::portal));
                let losses = Losses {
                    id: random()?.to_string(),
                    ..Losses::default()
                };
                (known.map_or_else(random, Ok)?, losses)
            }
        };
        restore::fits(backup.as_ref(), portal, &losses)?;
        let again = layout.unfinished.exists();
        let mut this = Self {
            found: survey.faults(&layout),
            config: config.clone(),
            layout,
            portal,
            options,
            losses,
            make: BTreeSet::new(),
            relabel: BTreeSet::new(),
            restore: BTreeSet::new(),
            backup,
            store: None,
            again,
        };
        this.sort(&survey);
        this.open_store()?;
        this.judge_store(&survey).await?;
        this.judge_key()?;
        this.losses.from |= !this.restore.is_empty();
        Ok(this)
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_whole(&self) -> bool {
        !self.again
            && self.losses.parts.is_empty()
            && self.restore.is_empty()
            && self.relabel.is_empty()
            && !self.losses.key
            && !self.losses.doubt
    }

    /// What is wrong, one sentence each.
    pub(crate) fn found(&self) -> &[String] {
        &self.found
    }

    /// What applying does, one sentence each.
    pub(crate) fn plan(&self) -> Vec<String> {
        let mut plan = Vec::new();
        let lost = |part| self.losses.parts.contains(&part);
        plan.extend(self.plan_of_backup());
        if lost(Part::Store) {
            plan.push(
                "a new, empty store: every request, receipt, account and API key of the old one is gone, and the first admin is made anew"
                    .to_owned(),
            );
        }
        if lost(Part::Secrets) {
            plan.push(
                "new secrets: every link, password and second factor stops working, applicants of old requests cannot be named any more, and receipts are signed by a new key"
                    .to_owned(),
            );
        }
        if self.losses.key {
            plan.push("a new vault key: documents that are sealed to a key that cannot be opened are lost".to_owned());
        }
        if lost(Part::Slots) {
            plan.push("a new file of erasure slots: every held document is lost, and can be asked for again".to_owned());
        } else if self.losses.doubt {
            plan.push(
                "the erasure secrets of every held document are destroyed: it is lost and can be asked for again, because it may have been delivered already".to_owned(),
            );
        }
        if lost(Part::Documents) && !lost(Part::Slots) {
            plan.push("a new folder of sealed documents: every held document is lost, and can be asked for again".to_owned());
        }
        if self.withdraws() {
            plan.push(
                "open links are withdrawn and sessions end; API keys stay, and are listed so that you can revoke those that should be"
                    .to_owned(),
            );
        } else if self.ends_sessions() {
            plan.push(
                "open links stay, also those that were used or withdrawn since; sessions end; API keys stay, and are listed so that you can revoke those that should be"
                    .to_owned(),
            );
        }
        plan.push("uploads that are not complete begin anew; one entry of the audit log says what was done; the high-water mark is set to where the store is".to_owned());
        plan
    }

    fn withdraws(&self) -> bool {
        (self.losses.doubt && !self.options.keep_links) || self.losses.parts.contains(&Part::Secrets)
    }

    fn ends_sessions(&self) -> bool {
        self.losses.doubt || self.losses.parts.contains(&Part::Secrets)
    }

    /// What of the parts is lost, what only has no label.
    fn sort(&mut self, survey: &Survey) {
        let portal = self.portal;
        for part in Part::ALL.into_iter().filter(|part| !survey.is_ours(*part, portal)) {
            let labels_only = match (part, survey.condition(part)) {
                (Part::Documents | Part::Keys, Condition::Damaged(_)) => true,
                (Part::Slots, Condition::Damaged(_)) => survey.slots_found.is_some() && survey.slots_found == survey.slots_named,
                // Whose it is, its own rows say.
                (Part::Store, Condition::Damaged(_)) => self.layout.store.join("sled").join("db").exists(),
                _ => false,
            };
            if labels_only {
                self.relabel.insert(part);
            } else {
                self.lose(part);
            }
        }
        // A folder without its keys has nothing that a label could save.
        if self.relabel.contains(&Part::Keys) && Keyring::open(&self.layout.keys).is_err() && self.backup.is_none() {
            self.losses.parts.insert(Part::Keys);
        }
    }

    fn open_store(&mut self) -> Result<(), StartError> {
        if self.make.contains(&Part::Store) {
            return Ok(());
        }
        let place = self.layout.store.display().to_string();
        let opened = SledStore::open(
            &self.layout.store,
            Options::default(),
            Source::System,
            data_folder::seal(&self.layout),
        )
        .and_then(|store| match store.meta(PORTAL_ROW)? {
            Some(id) if id == self.portal.0 => Ok(store),
            _ => Err(StoreError::Foreign),
        });
        match opened {
            Ok(store) => self.store = Some(store),
            Err(error @ (StoreError::Corrupt(_) | StoreError::Foreign)) if self.options.new_store || self.backup.is_some() => {
                self.found.push(format!("the store in {place} cannot be used: {}", chain(&error)));
                self.relabel.remove(&Part::Store);
                self.lose(Part::Store);
            }
            Err(error @ (StoreError::Corrupt(_) | StoreError::Foreign)) => {
                return Err(StartError::Refused(format!(
                    "the store in {place} cannot be used: {}. Put a good copy back; if there is none, add --from with a backup, or --new-store: it is set aside and an empty one is begun",
                    chain(&error)
                )));
            }
            Err(StoreError::Held) => {
                return Err(StartError::Refused(format!(
                    "{place} is in use: stop the portal first (another nightdrop holds this directory)"
                )));
            }
            Err(error) => {
                return Err(StartError::Refused(format!(
                    "the store in {place} cannot be opened: {}",
                    chain(&error)
                )));
            }
        }
        Ok(())
    }

    /// Whether the store is as new as it was.
    async fn judge_store(&mut self, survey: &Survey) -> Result<(), StartError> {
        let Some(store) = &self.store else {
            return Ok(());
        };
        let named = store.meta(SLOTS_ROW).map_err(|e| failed("the store")(&e))?;
        if survey.is_ours(Part::Slots, self.portal) && named.as_deref() != survey.slots_found.as_ref().map(|uuid| &uuid[..]) {
            self.losses.parts.insert(Part::Slots);
            self.make.insert(Part::Slots);
        }
        if self.make.contains(&Part::Mark) {
            self.losses.doubt = true;
            self.found
                .push("without its high-water mark nobody can tell whether the store is the newest".to_owned());
        } else if let Ok(Some((_, mark))) = MarkFile::read(&self.layout.mark) {
            match store.standing(&mark).map_err(|e| failed("the store")(&e))? {
                MarkStanding::Current => {}
                missing => {
                    self.losses.doubt = true;
                    self.found.push(format!("the store in {}: {missing}", self.layout.store.display()));
                }
            }
        }
        if let Ok(secrets) = PortalSecrets::load(&self.layout.secrets)
            && let Err(error) = check_against_checkpoints(&self.config, &secrets, store).await
        {
            self.losses.doubt = true;
            self.found.push(error.to_string());
        }
        self.judge_backup()
    }

    fn judge_key(&mut self) -> Result<(), StartError> {
        if self.restore.contains(&Part::Keys) {
            self.losses.key |= self.options.new_key.is_some();
            return Ok(());
        }
        let usable = !self.make.contains(&Part::Keys);
        let opened = usable.then(|| vault_key::open_keyring(&self.config, &self.layout)).transpose();
        let why = match opened {
            Ok(Some(_)) => None,
            Ok(None) => Some("the vault key is lost with its folder".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        match (why, self.options.new_key.is_some()) {
            (None, false) => {}
            (None, true) => {
                self.losses.key = true;
                self.found.push("the vault key, or what opens it, is lost".to_owned());
            }
            (Some(why), true) => {
                self.losses.key = true;
                self.found.push(why);
            }
            (Some(why), false) if self.backup.as_ref().is_some_and(Backup::has_keys) => {
                self.found.push(why);
                self.restore.insert(Part::Keys);
            }
            (Some(why), false) => {
                return Err(StartError::Refused(format!(
                    "{why}; without it nothing can be recovered: put it back, or add --new-key"
                )));
            }
        }
        Ok(())
    }

    /// Does what [`Self::plan`] says. [`Finished::finish`] ends it; until then no portal starts here.
    pub(crate) async fn apply(mut self) -> Result<(Report, Unfinished), StartError> {
        write_note(&self.layout, self.portal, &self.losses)?;
        let mut report = Report::default();
        self.make_parts(&mut report)?;
        let store = match self.store.take() {
            Some(store) => store,
            None => SledStore::open(
                &self.layout.store,
                Options::default(),
                Source::System,
                data_folder::seal(&self.layout),
            )
            .map_err(|e| failed("the new store")(&e))?,
        };
        if self.losses.doubt && !self.make.contains(&Part::Slots) {
            self.empty_slots()?;
        }
        self.change_requests(&store, &mut report)?;
        if self.ends_sessions() {
            report.sessions_ended = store.end_all_sessions().map_err(|e| failed("the sessions")(&e))?;
        }
        if self.losses.parts.contains(&Part::Secrets) {
            store.end_all_accounts().map_err(|e| failed("the accounts")(&e))?;
        }
        let keys = store.api_keys().await.map_err(|e| failed("the API keys")(&e))?;
        let now = store.now();
        report.api_keys = keys.into_iter().filter(|key| key.live(now)).collect();
        report.needs_people = self.losses.parts.contains(&Part::Store) || self.losses.parts.contains(&Part::Secrets);
        self.tell(&store, &report).await?;
        let present = store.present().map_err(|e| failed("the store")(&e))?;
        // Only now: whoever was cut off before this finds the store still behind.
        let mark = &self.layout.mark;
        match std::fs::remove_file(mark) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed("the high-water mark")(&error)),
            _ => {}
        }
        MarkFile::create(mark, &self.portal.0, &present).map_err(|e| failed("the high-water mark")(&e))?;
        drop(store);
        Ok((report, Unfinished(self.layout.unfinished)))
    }

    fn make_parts(&mut self, report: &mut Report) -> Result<(), StartError> {
        let made = |part| self.make.contains(&part);
        if made(Part::Keys) {
            set_aside(&self.layout.keys, report)?;
        }
        if made(Part::Keys) || self.relabel.contains(&Part::Keys) {
            data_folder::make_keys_folder(&self.layout, self.portal)?;
        }
        self.restore_keys(report)?;
        // In the folder that was just set aside with it, or alone.
        if !self.restore.contains(&Part::Secrets) && (made(Part::Secrets) || !self.layout.secrets.exists()) {
            set_aside(&self.layout.secrets, report)?;
            PortalSecrets::create(&self.layout.secrets, &self.portal.0).map_err(|e| failed("the portal's secrets")(&e))?;
            self.losses.parts.insert(Part::Secrets);
            write_note(&self.layout, self.portal, &self.losses)?;
        }
        if let Some(protection) = &self.options.new_key {
            self.make_key(protection, report)?;
        }
        if made(Part::Documents) {
            set_aside(&self.layout.documents, report)?;
        }
        if made(Part::Documents) || self.relabel.contains(&Part::Documents) {
            data_folder::make_documents(&self.layout, self.portal)?;
        }
        if made(Part::Slots) {
            set_aside(&self.layout.slots, report)?;
            let uuid = data_folder::make_slots(&self.config, &self.layout, self.portal)?;
            self.name_slots(uuid)?;
        } else if self.relabel.contains(&Part::Slots) {
            Label::of(self.portal)
                .write(&self.layout.erasure)
                .map_err(|e| failed("the folder of the erasure slots")(&e))?;
        }
        if made(Part::Mark) && self.layout.mark.exists() {
            set_aside(&self.layout.mark, report)?;
        }
        if made(Part::Store) {
            set_aside(&self.layout.store, report)?;
            let (uuid, _) = SlotsFile::look(&self.layout.slots).map_err(|e| failed("the erasure slots")(&e))?;
            if !self.restore_store(uuid)? {
                data_folder::make_store(&self.layout, self.portal, uuid, &data_folder::load_secrets(&self.layout)?)?;
            }
        } else if self.relabel.contains(&Part::Store) {
            let (uuid, _) = SlotsFile::look(&self.layout.slots).map_err(|e| failed("the erasure slots")(&e))?;
            self.name_slots(uuid)?;
        }
        Ok(())
    }

    /// Binds the store to a slots file: its rows first, so that a label never names a file that the rows do not.
    fn name_slots(&self, uuid: [u8; 16]) -> Result<(), StartError> {
        if let Some(store) = &self.store {
            slots_growth::bind_slots(store, &uuid).map_err(|e| failed("the store")(&e))?;
            data_folder::name_slots(&self.layout, self.portal, uuid)?;
        }
        Ok(())
    }

    fn make_key(&self, protection: &KeyProtection, report: &mut Report) -> Result<(), StartError> {
        if let KeyProtection::KekFile = protection {
            // One that is whole opens other keys as well, and is kept.
            let place = self.config.keys.kek_file.as_ref().unwrap_or(&self.layout.kek);
            if vault_key::read_kek(place).is_err() {
                set_aside(place, report)?;
            }
        }
        // What cannot be used of an older key would be in the way of every start.
        if let Ok(keyring) = Keyring::open(&self.layout.keys) {
            for stray in keyring.strays() {
                set_aside(&stray.path, report)?;
            }
        } else {
            for half in ["key", "pub"] {
                for path in files_ending(&self.layout.keys, half) {
                    set_aside(&path, report)?;
                }
            }
        }
        vault_key::make_key(&self.config, &self.layout, protection, Suite::XWing).map(drop)
    }

    /// Every secret that is there belongs to a document of which nobody can say whether it was delivered.
    fn empty_slots(&self) -> Result<(), StartError> {
        let slots = SlotsFile::open(&self.layout.slots, None).map_err(|e| failed("the erasure slots")(&e))?;
        for slot in slots.live().map_err(|e| failed("the erasure slots")(&e))? {
            slots
                .destroy(&slot.doc_id, &slot.slot)
                .map_err(|e| failed("an erasure secret could not be destroyed")(&e))?;
        }
        Ok(())
    }

    fn change_requests(&self, store: &SledStore, report: &mut Report) -> Result<(), StartError> {
        let broken = |e: StoreError| failed("the requests")(&e);
        // Locked keys are those that nothing in the configuration opens; with a new key they are given up.
        let keyring = Keyring::open(&self.layout.keys).map_err(|e| failed("the keyring")(&e))?;
        if self.losses.key {
            // Whatever opens, opens; the rest is lost.
            let _ = vault_key::unlock_at_start(&self.config, &self.layout, &keyring);
        }
        let lost = |part| self.losses.parts.contains(&part);
        let key_gone = |request: &DocumentRequest| {
            let keys = request.document().and_then(|document| vault::keys_of(request, document.id).ok());
            let restored = self.restore.contains(&Part::Keys);
            let unavailable = |key: &KeyId| match keyring.secret(key) {
                Ok(_) => false,
                // What a passphrase opens is not lost.
                Err(KeyUnavailable::Locked) => self.losses.key,
                Err(KeyUnavailable::Unknown) => true,
            };
            (self.losses.key || restored) && keys.is_none_or(|keys| keys.iter().any(unavailable))
        };
        let unreadable = |request: &DocumentRequest| {
            lost(Part::Slots) || lost(Part::Documents) || lost(Part::Secrets) || self.losses.doubt || key_gone(request)
        };
        let held = [
            RequestState::Received,
            RequestState::Forwarding,
            RequestState::AwaitingConfirmation,
            RequestState::NeedsAttention,
        ];
        report.documents_lost = store
            .change_all(&held, |request| {
                let Stage::Held { delivery, .. } = &request.stage else {
                    return Vec::new();
                };
                let gone = match &delivery.phase {
                    // The provider has it: its verdict is asked for without any key. Only who the applicant is must still be known.
                    Phase::AwaitingConfirmation { .. } => lost(Part::Secrets),
                    Phase::Pending { .. } | Phase::NeedsAttention { .. } | Phase::Sending { .. } | Phase::Uncertain { .. } => {
                        unreadable(request)
                    }
                };
                let passed_on = match &delivery.phase {
                    Phase::AwaitingConfirmation { .. } => None,
                    // What a lost part of the store said of it is not known.
                    _ => self.losses.doubt.then_some(PassedOn::Unknown),
                };
                let lose = Transition::Agent {
                    by: Actor::Operator,
                    action: AgentAction::Lose { passed_on },
                };
                if gone { vec![lose] } else { Vec::new() }
            })
            .map_err(broken)?;
        let withdraws = self.withdraws();
        report.links_withdrawn = store
            .change_all(&[RequestState::Awaiting, RequestState::Receiving], |request| {
                let open = matches!(request.stage, Stage::Open { .. }) && request.link.revoked_at.is_none();
                if withdraws && open {
                    vec![Transition::Agent {
                        by: Actor::Operator,
                        action: AgentAction::Revoke,
                    }]
                } else {
                    Vec::new()
                }
            })
            .map_err(broken)?;
        store
            .change_all(&[RequestState::Receiving, RequestState::Expired], |request| {
                let end = EndOf::Withdrawn;
                let ends = |document| Transition::Intake(IntakeStep::End { document, end });
                request.intakes.iter().map(|r| ends(r.document)).collect()
            })
            .map_err(broken)?;
        Ok(())
    }

    async fn tell(&self, store: &SledStore, report: &Report) -> Result<(), StartError> {
        let now = store.now();
        if self.is_told(store).await? {
            return Ok(());
        }
        store
            .set_meta(RECOVERED_ROW, &to_ms(now).to_be_bytes())
            .map_err(|e| failed("the store")(&e))?;
        let parts: Vec<&str> = self.losses.parts.iter().map(|part| part.word()).collect();
        let event = AuditEvent::new(now, Actor::Operator, AuditAction::PortalRecovered)
            .with("lost", parts.join(","))
            .with("vault_key", if self.losses.key { "lost" } else { "kept" })
            .with("store", if self.losses.doubt { "not the newest" } else { "kept" })
            .with("documents_lost", report.documents_lost)
            .with("links_withdrawn", report.links_withdrawn)
            .with("sessions_ended", report.sessions_ended)
            .with("backup", self.taken_at().unwrap_or("none"))
            .with("recovery", &self.losses.id);
        store.append(event).await.map_err(|e| failed("the audit log")(&e))
    }
}
