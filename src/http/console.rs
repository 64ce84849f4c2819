//! Stub.
pub fn routes(_routes: &mut actix_web::web::ServiceConfig) {}
