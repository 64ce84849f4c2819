//! Where a page of a list ended, as callers get it. Sealed: a page may end at a request that whoever asks does not see. It fits the order alone that gave it.

use data_encoding::BASE64URL_NOPAD;

use crate::domain::list_order::ListOrder;
use crate::storage::Cursor;
use crate::workflow::{Portal, WorkflowError};

const fn label(order: ListOrder) -> &'static [u8] {
    match order {
        ListOrder::Newest => b"cursor",
        ListOrder::Oldest => b"cursor-oldest",
        ListOrder::Expiry => b"cursor-expiry",
    }
}

pub(crate) fn read(portal: &Portal, order: ListOrder, text: &str) -> Result<Cursor, WorkflowError> {
    let sealed = BASE64URL_NOPAD.decode(text.as_bytes()).ok();
    let place = sealed.and_then(|sealed| portal.secrets.open_field(label(order), &sealed).ok());
    let cursor = place.and_then(|place| <[u8; 24]>::try_from(place.as_slice()).ok()).map(Cursor);
    cursor.ok_or_else(|| WorkflowError::Invalid {
        field: "cursor",
        fix: "must be the next_cursor of the page before, in the same order".to_owned(),
    })
}

pub(crate) fn write(portal: &Portal, order: ListOrder, cursor: Cursor) -> Result<String, WorkflowError> {
    Ok(BASE64URL_NOPAD.encode(&portal.secrets.seal_field(label(order), &cursor.0)?))
}
