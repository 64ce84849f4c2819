//! What lists, overviews and timelines show: questions over several rows, for the console, the API and the command line alike. Nothing here changes anything.

pub mod attention;
pub mod audit;
pub mod requests;
