//! The commented `nightdrop.toml` that `nightdrop init` writes.

/// Fills the template. Values are written as TOML strings.
pub(crate) fn write(data_dir: &str, public_url: &str, public: &str, staff: &str) -> String {
    let quote = |text: &str| toml::Value::String(text.to_owned()).to_string();
    include_str!("../../assets/nightdrop.toml")
        .replace("@data_dir@", &quote(data_dir))
        .replace("@public_url@", &quote(public_url))
        .replace("@public@", &quote(public))
        .replace("@staff@", &quote(staff))
}
