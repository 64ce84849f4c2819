//! The settings of `[database]`: where records and sealed documents are kept. Without that table they are in the data folder.

use crate::settings::Reader;
use crate::storage::postgres::{Database, Unusable};

/// What keeps records and sealed documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreSettings {
    /// The embedded store, in the data folder.
    Embedded,
    Postgres(Box<Database>),
}

impl StoreSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        const URL: &str = "the address of a PostgreSQL database of this portal alone, such as postgres://user:password@host/database";
        const AUTHORITY: &str =
            "a PEM file with the certificate of the authority that signed the server's; needed unless the server is on this machine";
        let is_meant = ["url_file", "ca_file", "connections"].iter().any(|key| reader.has(key));
        let is_named = reader.has("url_file");
        let url = reader.secret("url_file", URL);
        let authority = reader.path("ca_file", AUTHORITY);
        let connections = reader.number(
            "connections",
            12,
            2..=500,
            "connections to the database at once, beside the one that holds it",
        );
        if is_meant && !is_named {
            reader.is_needed("url_file", format!("the path of a file with {URL}"));
        }
        let Some(url) = url else { return Self::Embedded };
        match Database::parse(url.expose(), authority.as_deref(), connections) {
            Ok(database) => Self::Postgres(Box::new(database)),
            Err(why) => {
                let key = match why {
                    Unusable::Address | Unusable::Incomplete | Unusable::NoAuthority => "url_file",
                    Unusable::Authority(_) => "ca_file",
                };
                reader.error(key, why.to_string());
                Self::Embedded
            }
        }
    }
}
