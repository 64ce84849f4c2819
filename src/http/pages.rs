//! What people see, written with maud: everything is escaped unless a line says otherwise, and none does.

pub mod assets;
pub mod console;
pub mod layout;
pub mod upload;
