//! The settings of `[providers.NAME]`: a name, a kind, and the connector that the kind's own settings make.

use std::fmt;
use std::sync::Arc;

use crate::connectors::{self, Connector, KINDS};
use crate::domain::document::ProviderName;
use crate::settings::Reader;

const CONCURRENCY: usize = 8;
/// Each has a task that looks for work.
const CONCURRENCY_MAX: usize = 64;

#[derive(Clone)]
pub struct Provider {
    pub name: ProviderName,
    pub kind: String,
    pub connector: Arc<dyn Connector>,
    /// Requests that may wait for it at once.
    pub concurrency: usize,
    /// The keys that are set, for advice about them.
    pub keys: Vec<String>,
    /// The requests that the table describes, one line each, where a table describes them.
    pub requests: Vec<String>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.kind)
    }
}

impl Provider {
    /// All providers in which nothing is wrong.
    pub fn read_all(reader: &mut Reader<'_>) -> Vec<Self> {
        let mut providers = Vec::new();
        for key in reader.names() {
            let name = ProviderName::parse(&key);
            if name.is_none() {
                reader.error(&key, "must have a name of 1–64 characters of a-z, 0-9 and -");
            }
            let provider = reader.section(&key, |reader| match name {
                Some(name) => Self::read(reader, name),
                None => {
                    reader.skip_rest();
                    None
                }
            });
            providers.extend(provider);
        }
        providers
    }

    fn read(reader: &mut Reader<'_>, name: ProviderName) -> Option<Self> {
        let kind = reader.required("kind", &format!("one of {}", KINDS.join(", ")));
        if kind.is_empty() {
            reader.skip_rest();
            return None;
        }
        let concurrency = reader.number(
            "concurrency",
            CONCURRENCY,
            1..=CONCURRENCY_MAX,
            "requests that may wait for the provider at once",
        );
        let (connector, requests) = connectors::read(&kind, reader)?;
        let keys = reader.given();
        Some(Self {
            name,
            kind,
            connector,
            concurrency,
            keys,
            requests,
        })
    }
}
