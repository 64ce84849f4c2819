//! What people see, written with maud: everything is escaped unless a line says otherwise, and none does.

pub(crate) mod assets;
pub(crate) mod layout;
pub(crate) mod upload;
