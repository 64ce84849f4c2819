//! Where the parts of a data folder lie. Paths alone: nothing here looks whether they are there.

use std::path::{Path, PathBuf};

use crate::config::{Config, StoreSettings};

/// What keeps the records and the sealed documents of a portal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    /// The embedded store and files, in the data folder.
    Embedded,
    /// PostgreSQL: the data folder keeps keys, secrets and erasure slots alone.
    Postgres,
}

/// Where everything of one data folder lies.
pub struct Layout {
    pub data: PathBuf,
    pub(crate) kind: StoreKind,
    pub store: PathBuf,
    /// Sealed documents.
    pub documents: PathBuf,
    /// The folder of what no backup may hold: erasure slots and the store's high-water mark.
    pub erasure: PathBuf,
    pub slots: PathBuf,
    pub mark: PathBuf,
    pub keys: PathBuf,
    pub secrets: PathBuf,
    pub kek: PathBuf,
    /// Accounts and certificates that the portal fetched. None of them is this portal's alone: what is lost is fetched again.
    pub certificates: PathBuf,
    /// The note of an `init` or a `recover` that has not come to its end.
    pub unfinished: PathBuf,
    /// The command line of `recover` for this portal, as it can be typed.
    recover: String,
}

impl Layout {
    pub fn of(config: &Config) -> Self {
        let (data, keys, erasure) = (&config.data_dir, &config.keys.folder, &config.erasure_folder);
        Self {
            data: data.clone(),
            kind: match &config.store {
                StoreSettings::Embedded => StoreKind::Embedded,
                StoreSettings::Postgres(_) => StoreKind::Postgres,
            },
            store: data.join("store"),
            documents: data.join("documents"),
            slots: erasure.join("erase.slots"),
            mark: erasure.join("mark"),
            erasure: erasure.clone(),
            secrets: keys.join("portal.secrets"),
            kek: keys.join("kek"),
            keys: keys.clone(),
            certificates: data.join("acme"),
            unfinished: data.join("unfinished"),
            recover: match &config.path {
                Some(path) => format!("nightdrop recover --config {}", quoted(path)),
                None => "nightdrop recover".to_owned(),
            },
        }
    }

    /// The same with what it needs here.
    pub(super) fn recover_with(&self, more: &str) -> String {
        format!("{}{more}", self.recover)
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}
