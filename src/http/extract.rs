//! What handlers read off a request: JSON bodies, forms and queries, each with every fault by its field.

pub(crate) mod form;
pub(crate) mod json;
pub(crate) mod query;
