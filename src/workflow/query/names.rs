//! Who issued or did something, by the id that the log has.

use std::collections::BTreeMap;

use crate::storage::StorageError;
use crate::workflow::Portal;

/// Names of agents and API keys, by id.
#[derive(Default)]
pub(crate) struct Names(pub BTreeMap<String, String>);

impl Names {
    pub(crate) async fn load(portal: &Portal) -> Result<Self, StorageError> {
        let agents = portal.directory.agents().await?.into_iter().map(|a| (a.id.to_string(), a.name));
        let keys = portal.directory.api_keys().await?.into_iter();
        let keys = keys.map(|k| (k.id.to_string(), format!("API key “{}”", k.name)));
        Ok(Self(agents.chain(keys).collect()))
    }

    /// Everybody, by id.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn of_actor<'a>(&'a self, actor: &'a str) -> &'a str {
        match actor {
            "applicant" => "Applicant",
            "portal" => "nightdrop",
            "operator" => "Operator",
            id => self.0.get(id).map_or(id, String::as_str),
        }
    }
}
