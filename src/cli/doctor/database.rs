//! The database, where records and sealed documents are in one: whether it is reached, keeps what it acknowledges, and is this portal's.

use super::Findings;
use super::codes::Code;
use crate::app::Layout;
use crate::chain::chain;
use crate::config::{Config, StoreSettings};
use crate::crypto::secrets::PortalSecrets;
use crate::storage::postgres::OpenError;

const AREA: &str = "database";

/// Whether a running portal has it.
pub(super) async fn look(config: &Config, findings: &mut Findings) -> bool {
    let StoreSettings::Postgres(database) = &config.store else {
        return false;
    };
    let looked = match database.look().await {
        Ok(looked) => looked,
        Err(OpenError::Refused(refusals)) => {
            for refusal in refusals {
                let (text, fix) = refusal.split_once(": ").unwrap_or((&refusal, "see docs/operations/postgresql.md"));
                findings.wrong(Code::DatabaseRefused, format!("{database}: {text}"), fix);
            }
            return false;
        }
        Err(error) => {
            let text = format!("{database}: {}", chain(&error));
            findings.wrong(
                Code::DatabaseUnreached,
                text,
                "start the server, or set database.url_file and database.ca_file right",
            );
            return false;
        }
    };
    findings.good(AREA, format!("{database} answers: {}", looked.server));
    let ours = PortalSecrets::load(&Layout::of(config).secrets).map(|secrets| secrets.portal());
    match (&looked.portal, ours) {
        (None, _) => findings.wrong(
            Code::DatabaseEmpty,
            format!("{database} holds no portal"),
            "set database.url_file to this portal's, or run `nightdrop init`",
        ),
        (Some(there), Ok(ours)) if *there != ours => findings.wrong(
            Code::DatabaseStranger,
            format!("{database} belongs to another portal"),
            "set database.url_file to this portal's",
        ),
        (Some(_), _) if looked.held => findings.good(AREA, "a running portal holds it"),
        (Some(_), _) => findings.good(AREA, "no portal runs on it now"),
    }
    looked.held
}
