//! One random id for each portal, written into every part of its data folder together with the layout's number: so that a start tells a part that is missing, or that
//! belongs to another portal, from one that is new. Looking changes nothing: no file is made, opened for writing or locked.
//!
//! Folders carry it in a file `portal.id`; the portal's secrets and the high-water mark carry it inside; the slots file is known by its uuid, which the store's
//! `portal.id` names, or the database where the records are in one: then the folders' labels say so.

use std::fmt;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;

use super::layout::{Layout, StoreKind};
use crate::chain::chain;
use crate::crypto::private_file::{self, FileError, Privacy};
use crate::crypto::random::{self, RandomUnavailable};
use crate::crypto::secrets::PortalSecrets;
use crate::crypto::slots::SlotsFile;
use crate::storage::sled::mark::MarkFile;

/// The layout of the data folder that this version reads and writes.
pub(crate) const LAYOUT: u32 = 6;

const NAME: &str = "portal.id";
const FIRST_LINE: &str = "part of a nightdrop data folder; do not edit, copy or remove this file";
/// In the labels of a portal whose records are in a database; no line in those of any other.
const IN_POSTGRES: &str = "store postgresql\n";
const LONGEST: usize = 1024;

/// Which portal something belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PortalId(pub [u8; 16]);

impl PortalId {
    pub(crate) fn random() -> Result<Self, RandomUnavailable> {
        random::array().map(Self)
    }
}

impl fmt::Display for PortalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// What a folder's `portal.id` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub portal: PortalId,
    pub layout: u32,
    /// What keeps its records.
    pub store: StoreKind,
    /// In the store's: the slots file that its documents' secrets are in.
    pub slots: Option<[u8; 16]>,
}

impl Label {
    pub(crate) fn of(portal: PortalId) -> Self {
        Self {
            portal,
            layout: LAYOUT,
            store: StoreKind::Embedded,
            slots: None,
        }
    }

    /// Writes it into a folder, in the place of the one before; durable when this returns.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), FileError> {
        let slots = self
            .slots
            .map(|uuid| format!("slots {}\n", HEXLOWER.encode(&uuid)))
            .unwrap_or_default();
        let store = match self.store {
            StoreKind::Embedded => "",
            StoreKind::Postgres => IN_POSTGRES,
        };
        let text = format!("{FIRST_LINE}\nlayout {}\nportal {}\n{store}{slots}", self.layout, self.portal);
        private_file::put(&folder.join(NAME), text.as_bytes(), 0o400)
    }

    /// The label of a folder; `None` if it has none.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, FileError> {
        let path = folder.join(NAME);
        let content = match private_file::read(&path, LONGEST, Privacy::Owner) {
            Err(FileError::Missing(_)) => return Ok(None),
            other => other?,
        };
        let text = std::str::from_utf8(&content).unwrap_or_default();
        Self::parse(text)
            .map(Some)
            .ok_or(FileError::Malformed(path, "does not say which portal it belongs to"))
    }

    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let id = |hex: &str| HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok();
        Some(Self {
            portal: PortalId(id(field("portal")?)?),
            layout: field("layout")?.parse().ok()?,
            store: match field("store") {
                None => StoreKind::Embedded,
                Some("postgresql") => StoreKind::Postgres,
                Some(_) => return None,
            },
            slots: match field("slots") {
                Some(hex) => Some(id(hex)?),
                None => None,
            },
        })
    }
}

/// One thing that a portal cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    Store,
    Documents,
    Slots,
    Mark,
    Keys,
    Secrets,
}

impl Part {
    pub(crate) const ALL: [Part; 6] = [Self::Store, Self::Documents, Self::Slots, Self::Mark, Self::Keys, Self::Secrets];

    /// Whether a portal of this kind has it.
    fn belongs_to(self, kind: StoreKind) -> bool {
        match self {
            Self::Store | Self::Documents | Self::Mark => kind == StoreKind::Embedded,
            Self::Slots | Self::Keys | Self::Secrets => true,
        }
    }

    /// A word for machines.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Documents => "documents",
            Self::Slots => "slots",
            Self::Mark => "mark",
            Self::Keys => "keys",
            Self::Secrets => "secrets",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.word() == word)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Store => "the store of records",
            Self::Documents => "the folder of sealed documents",
            Self::Slots => "the file of erasure slots",
            Self::Mark => "the store's high-water mark",
            Self::Keys => "the keys folder",
            Self::Secrets => "the file of the portal's secrets",
        }
    }

    pub(crate) fn place(self, layout: &Layout) -> &PathBuf {
        match self {
            Self::Store => &layout.store,
            Self::Documents => &layout.documents,
            Self::Slots => &layout.slots,
            Self::Mark => &layout.mark,
            Self::Keys => &layout.keys,
            Self::Secrets => &layout.secrets,
        }
    }
}

/// What is known of a part without opening it for writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Here, and of this portal.
    Of(PortalId),
    Missing,
    /// Something is there that is not, or no longer, the whole part.
    Damaged(String),
    /// It cannot be looked at, which says nothing about what it holds: a mode, an owner, an I/O error.
    Unreadable(String),
    /// Written by another version.
    Layout(u32),
}

/// Everything that a look at the data folder found.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    pub parts: Vec<(Part, Condition)>,
    /// Parts that are there and that a portal with its records in a database has none of.
    beside: Vec<Part>,
    /// What keeps the portal's records, as the labels of its folders say.
    made_for: Option<StoreKind>,
    /// The slots file that the store names.
    pub slots_named: Option<[u8; 16]>,
    pub slots_found: Option<[u8; 16]>,
}

impl Survey {
    pub(crate) fn of(layout: &Layout) -> Self {
        let store = label(&layout.store);
        let slots_named = match &store {
            Ok(label) => label.slots,
            Err(_) => None,
        };
        // Who may look at it first: a mode or an owner is no damage.
        let slots = private_file::open_checked(&layout.slots, Privacy::Owner, std::fs::OpenOptions::new().read(true))
            .map_err(of_error)
            .and_then(|_| SlotsFile::look(&layout.slots).map_err(|error| Condition::Damaged(chain(&error).to_string())));
        let slots_found = slots.as_ref().ok().map(|(uuid, _)| *uuid);
        let (erasure, keys) = (label(&layout.erasure), label(&layout.keys));
        let parts = Part::ALL.into_iter().map(|part| {
            let condition = match part {
                Part::Store => of_label(&store, |_| present(&layout.store.join("sled").join("db"))),
                Part::Documents => of_label(&label(&layout.documents), |_| Ok(())),
                Part::Keys => of_label(&keys, |_| Ok(())),
                Part::Slots => match &slots {
                    Err(condition) => condition.clone(),
                    Ok(_) => of_label(&erasure, |_| Ok(())),
                },
                Part::Mark => mark(&layout.mark),
                Part::Secrets => match PortalSecrets::load(&layout.secrets) {
                    Ok(secrets) => Condition::Of(PortalId(secrets.portal())),
                    Err(error) => of_error(error),
                },
            };
            (part, condition)
        });
        let (parts, beside): (Vec<_>, Vec<_>) = parts.partition(|(part, _)| part.belongs_to(layout.kind));
        let beside = beside.into_iter().filter(|(_, condition)| *condition != Condition::Missing);
        let made_for = erasure.as_ref().or(keys.as_ref()).ok().map(|label| label.store);
        Self {
            parts,
            beside: beside.map(|(part, _)| part).collect(),
            made_for,
            slots_named,
            slots_found,
        }
    }

    /// Whether the portal's records are kept otherwise than the configuration says, and what to do about it.
    pub(crate) fn mismatch(&self, layout: &Layout) -> Option<String> {
        let data = layout.data.display();
        let embedded = match layout.kind {
            StoreKind::Embedded if self.made_for == Some(StoreKind::Postgres) => {
                return Some(format!(
                    "the records of the portal in {data} are in PostgreSQL, and the configuration names no database: set database.url_file again, or choose another data_dir"
                ));
            }
            StoreKind::Embedded => return None,
            StoreKind::Postgres if !self.beside.is_empty() => {
                let names = self
                    .beside
                    .iter()
                    .map(|part| format!("{} ({})", part.name(), part.place(layout).display()));
                names.collect::<Vec<_>>().join(", ")
            }
            StoreKind::Postgres if self.made_for == Some(StoreKind::Embedded) => "the keys of a portal with an embedded store".to_owned(),
            StoreKind::Postgres => return None,
        };
        Some(format!(
            "{data} holds {embedded}, and the configuration names a database beside it: remove [database] to go on with that portal, or set another data_dir for a new one \
            (`nightdrop init`); nothing moves records from one to the other"
        ))
    }

    pub(crate) fn condition(&self, part: Part) -> &Condition {
        static MISSING: Condition = Condition::Missing;
        self.parts
            .iter()
            .find(|(p, _)| *p == part)
            .map_or(&MISSING, |(_, condition)| condition)
    }

    /// Whether nothing of a portal is here.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.iter().all(|(_, condition)| *condition == Condition::Missing)
    }

    /// The portal that most parts belong to; the store's word decides between equals.
    pub(crate) fn portal(&self) -> Option<PortalId> {
        let ids = || {
            self.parts.iter().filter_map(|(_, condition)| match condition {
                Condition::Of(id) => Some(*id),
                _ => None,
            })
        };
        let votes = |id: PortalId| ids().filter(|other| *other == id).count();
        // The first of equals wins, and the store comes first.
        ids().fold(None, |best: Option<PortalId>, id| match best {
            Some(best) if votes(best) >= votes(id) => Some(best),
            _ => Some(id),
        })
    }

    /// Whether a part is here, whole, and this portal's.
    pub(crate) fn is_ours(&self, part: Part, portal: PortalId) -> bool {
        *self.condition(part) == Condition::Of(portal) && (part != Part::Slots || !self.slots_are_others())
    }

    /// Whether the slots file is another one than the store names. Without a store nobody can tell.
    pub(crate) fn slots_are_others(&self) -> bool {
        matches!((self.slots_named, self.slots_found), (Some(named), Some(found)) if named != found)
    }

    /// One clause for each part that is not as it must be.
    pub(crate) fn faults(&self, layout: &Layout) -> Vec<String> {
        let portal = self.portal();
        let mut faults = Vec::new();
        for (part, condition) in &self.parts {
            let what = format!("{} ({})", part.name(), part.place(layout).display());
            match condition {
                Condition::Of(id) if Some(*id) != portal => faults.push(format!("{what} belongs to another portal ({id})")),
                Condition::Of(_) if *part == Part::Slots && self.slots_are_others() => {
                    faults.push(format!("{what} is not the one that the store's documents have their secrets in"));
                }
                Condition::Of(_) => {}
                Condition::Missing => faults.push(format!("{what} is missing")),
                Condition::Damaged(why) => faults.push(format!("{what} is not whole: {why}")),
                Condition::Unreadable(why) => faults.push(format!("{what} cannot be looked at: {why}")),
                Condition::Layout(other) => {
                    let (age, fix) = match *other > LAYOUT {
                        true => (
                            "a later",
                            "run that version or a newer one: the data folder is not taken back to an older layout",
                        ),
                        false => (
                            "an earlier",
                            "this version does not read it: deliver and purge with that version, then begin anew",
                        ),
                    };
                    faults.push(format!(
                        "{what} was written by {age} nightdrop (layout {other}; this one has {LAYOUT}): {fix}"
                    ));
                }
            }
        }
        faults
    }

    /// Whether only a person can say more: something could not be looked at, or was written by another version.
    pub(crate) fn undecided(&self) -> bool {
        let open = |condition: &Condition| matches!(condition, Condition::Unreadable(_) | Condition::Layout(_));
        self.parts.iter().any(|(_, condition)| open(condition))
    }
}

/// The label of a folder, or what its absence says.
fn label(folder: &Path) -> Result<Label, Condition> {
    match folder.try_exists() {
        Err(error) => return Err(Condition::Unreadable(error.to_string())),
        Ok(false) => return Err(Condition::Missing),
        Ok(true) => {}
    }
    match Label::read(folder) {
        Ok(Some(label)) => Ok(label),
        Ok(None) if is_empty(folder) => Err(Condition::Missing),
        Ok(None) => Err(Condition::Damaged(format!("its {NAME} is missing"))),
        Err(error) => Err(of_error(error)),
    }
}

/// An empty folder is what a mount point shows whose file system is not there; a new file system has one folder of its own.
pub(super) fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|entries| entries.flatten().all(|entry| entry.file_name() == "lost+found"))
}

fn of_label(label: &Result<Label, Condition>, whole: impl FnOnce(&Label) -> Result<(), Condition>) -> Condition {
    match label {
        Ok(label) if label.layout != LAYOUT => Condition::Layout(label.layout),
        Ok(label) => whole(label).err().unwrap_or(Condition::Of(label.portal)),
        Err(condition) => condition.clone(),
    }
}

fn present(file: &Path) -> Result<(), Condition> {
    match file.try_exists() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Condition::Damaged(format!("{} is missing", file.display()))),
        Err(error) => Err(Condition::Unreadable(error.to_string())),
    }
}

fn mark(path: &Path) -> Condition {
    match MarkFile::read(path) {
        Ok(Some((portal, _))) => Condition::Of(PortalId(portal)),
        Ok(None) => Condition::Damaged("no page of it is whole".to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Condition::Missing,
        Err(error) => Condition::Unreadable(error.to_string()),
    }
}

fn of_error(error: FileError) -> Condition {
    match error {
        FileError::Missing(_) => Condition::Missing,
        FileError::Malformed(..) => Condition::Damaged(chain(&error).to_string()),
        FileError::Exists(_) | FileError::Exposed(..) | FileError::Io(..) => Condition::Unreadable(chain(&error).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PortalId = PortalId([1; 16]);
    const B: PortalId = PortalId([2; 16]);

    fn survey(conditions: [Condition; 6]) -> Survey {
        Survey {
            parts: Part::ALL.into_iter().zip(conditions).collect(),
            beside: Vec::new(),
            made_for: None,
            slots_named: None,
            slots_found: None,
        }
    }

    #[test]
    fn most_parts_decide_which_portal_it_is_and_the_store_between_equals() {
        let of = Condition::Of;
        assert_eq!(survey([of(A), of(A), of(B), of(B), of(B), of(B)]).portal(), Some(B));
        assert_eq!(survey([of(A), of(A), of(A), of(B), of(B), of(B)]).portal(), Some(A));
        assert_eq!(
            survey([Condition::Missing, of(B), of(A), of(A), of(B), Condition::Missing]).portal(),
            Some(B)
        );
        let none = || Condition::Missing;
        assert_eq!(survey([none(), none(), none(), none(), none(), none()]).portal(), None);
    }

    #[test]
    fn a_label_reads_back_as_itself_and_nothing_else_does() {
        let text = |slots: &str| format!("{FIRST_LINE}\nlayout 6\nportal {A}\n{slots}");
        assert_eq!(Label::parse(&text("")), Some(Label::of(A)));
        let named = Label {
            slots: Some(B.0),
            ..Label::of(A)
        };
        assert_eq!(Label::parse(&text(&format!("slots {B}\n"))), Some(named));
        let elsewhere = Label {
            store: StoreKind::Postgres,
            ..Label::of(A)
        };
        assert_eq!(Label::parse(&text(IN_POSTGRES)), Some(elsewhere));
        for wrong in [
            text("slots 12\n"),
            text("store mysql\n"),
            "layout 6\n".into(),
            text("").replace("0101", "01"),
            text("").replace("layout 6", "layout x"),
        ] {
            assert_eq!(Label::parse(&wrong), None, "{wrong}");
        }
    }
}
