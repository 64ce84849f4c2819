//! The store against the checkpoints of its own audit log, where they go to a file: an old copy of the whole data folder brings an old high-water mark with it, and this
//! file may know better. Only lines that this portal signed count.

use data_encoding::HEXLOWER;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::layout::Layout;
use super::{StartError, data_folder, store_failed};
use crate::config::Config;
use crate::crypto::checkpoint::{Checkpoint, Signed};
use crate::crypto::receipt;
use crate::crypto::secrets::PortalSecrets;
use crate::storage::backend::Backend;
use crate::storage::clock::from_ms;

/// When the last recovery was: checkpoints from before it may speak of entries that were lost.
pub(super) const RECOVERED_ROW: &str = "recovered";
/// So much of the end of a checkpoint file is compared.
const LOOK: usize = 64 << 10;

/// Refuses a store whose audit log is not the one that this portal's newest checkpoints were taken of.
pub(super) async fn check_against_checkpoints(config: &Config, secrets: &PortalSecrets, store: &dyn Backend) -> Result<(), StartError> {
    let path = &config.outgoing.checkpoint_file;
    let text = match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LOOK)..]).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StartError::Refused(format!("audit.checkpoint_file: {}: {error}", path.display()))),
    };
    let own = receipt::public_key(secrets);
    let recovered = store.meta(RECOVERED_ROW).await.map_err(|e| store_failed("the store", e))?;
    let recovered = recovered.and_then(|b| b.try_into().ok()).map(|b| from_ms(i64::from_be_bytes(b)));
    let newer = |point: &Checkpoint| {
        let at = OffsetDateTime::parse(&point.at, &Rfc3339).ok();
        recovered.is_none_or(|recovered| at.is_some_and(|at| at > recovered))
    };
    let points = text
        .lines()
        .filter_map(parse)
        .filter(|(point, signed)| signed.by == own && point.fits(signed));
    for (point, _) in points.filter(|(point, _)| newer(point)) {
        let found = store.audit_hash(point.sequence).await.map_err(|e| store_failed("the store", e))?;
        let what = match found {
            Some(hash) if hash == point.hash => continue,
            Some(_) => "has another entry there",
            None => "ends before it",
        };
        return Err(StartError::Refused(format!(
            "the checkpoint of audit entry {} from {} ({}) was taken of a log that the store does not hold: it {what}. {}",
            point.sequence,
            point.at,
            path.display(),
            data_folder::behind(&Layout::of(config), "")
        )));
    }
    Ok(())
}

fn parse(line: &str) -> Option<(Checkpoint, Signed)> {
    fn bytes<const N: usize>(value: &Value) -> Option<[u8; N]> {
        HEXLOWER.decode(value.as_str()?.as_bytes()).ok()?.try_into().ok()
    }
    let object: Value = serde_json::from_str(line).ok()?;
    let point = Checkpoint {
        sequence: object["sequence"].as_u64()?,
        hash: bytes(&object["hash"])?,
        at: object["at"].as_str()?.to_owned(),
    };
    let signed = Signed {
        by: bytes(&object["signed_by"])?,
        signature: bytes(&object["signature"])?,
    };
    Some((point, signed))
}
