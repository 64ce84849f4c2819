//! What lists, overviews and timelines show: questions over several rows, for the console, the API and the command line alike. Nothing here changes anything.

pub(crate) mod attention;
pub(crate) mod audit;
pub(crate) mod requests;
pub(crate) mod search;
