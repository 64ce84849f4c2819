//! The applicant's side of the public listener: the page behind a link, the form it sends, and resumable uploads (tus).

pub(crate) mod check_upload;
mod form;
pub(crate) mod layout;
mod link_address;
pub(crate) mod multipart;
pub(crate) mod opened;
pub(crate) mod page;
pub(crate) mod qr;
mod refused;
mod reply;
pub(crate) mod tus;
pub(crate) mod upload;
