//! The settings of `[providers.NAME]`: a name, a kind, and the connector that the kind's own settings make.

use std::fmt;
use std::sync::Arc;

use crate::connectors::{self, Connector, KINDS};
use crate::domain::document::ProviderName;
use crate::settings::Reader;

#[derive(Clone)]
pub struct Provider {
    pub name: ProviderName,
    pub kind: String,
    pub connector: Arc<dyn Connector>,
    /// The keys that are set, for advice about them.
    pub keys: Vec<String>,
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
        let connector = connectors::read(&kind, reader)?;
        let keys = reader.given();
        Some(Self {
            name,
            kind,
            connector,
            keys,
        })
    }
}
