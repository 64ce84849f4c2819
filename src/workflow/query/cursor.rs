//! Where a page of a list ended, as callers get it. Sealed: a page may end at a request that whoever asks does not see.

use data_encoding::BASE64URL_NOPAD;

use crate::storage::Cursor;
use crate::workflow::{Portal, WorkflowError};

const CURSOR: &[u8] = b"cursor";

pub(crate) fn read(portal: &Portal, text: &str) -> Result<Cursor, WorkflowError> {
    let sealed = BASE64URL_NOPAD.decode(text.as_bytes()).ok();
    let place = sealed.and_then(|sealed| portal.secrets.open_field(CURSOR, &sealed).ok());
    let cursor = place.and_then(|place| <[u8; 24]>::try_from(place.as_slice()).ok()).map(Cursor);
    cursor.ok_or_else(|| WorkflowError::Invalid {
        field: "cursor",
        fix: "must be the next_cursor of the page before".to_owned(),
    })
}

pub(crate) fn write(portal: &Portal, cursor: Cursor) -> Result<String, WorkflowError> {
    Ok(BASE64URL_NOPAD.encode(&portal.secrets.seal_field(CURSOR, &cursor.0)?))
}
