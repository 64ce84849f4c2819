//! The operator's pages about providers, as they stand in `assets/docs/providers`: compiled in, so that they always speak of this very version.

use actix_web::web;

use crate::http::error::Problem;
use crate::http::staff::auth::Get;
use crate::http::staff::console::docs::page as pages;
use crate::http::staff::permission::Anyone;

use crate::http::staff::console::{Page, html};

macro_rules! pages {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../../../../assets/docs/providers/", $name, ".md")))),*]
    };
}

/// The index, then a page for each kind of provider.
const PAGES: &[(&str, &str)] = pages! {
    "README" "adyen" "bridge" "dwolla" "http" "lithic" "manual" "onfido" "sandbox" "stripe" "sumsub" "synapse" "unit"
};

pub(crate) async fn index(Get { who, .. }: Get<Anyone>) -> Page {
    Ok(html(pages::page(&who.agent, PAGES[0].1, true)))
}

pub(crate) async fn provider(Get { who, .. }: Get<Anyone>, name: web::Path<String>) -> Page {
    let found = PAGES[1..].iter().find(|(known, _)| *known == name.as_str());
    let (_, text) = found.ok_or_else(|| Problem::not_found("There is no page about such a provider."))?;
    Ok(html(pages::page(&who.agent, text, false)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_kind_and_every_file_has_its_page() {
        let known: Vec<&str> = PAGES[1..].iter().map(|(name, _)| *name).collect();
        assert_eq!(known, crate::connectors::KINDS);
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/docs/providers");
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), PAGES.len());
        // Each is named by the index, and each names a reference, limits and the doctor's question, or says that there is none.
        for (name, text) in &PAGES[1..] {
            assert!(PAGES[0].1.contains(&format!("({name}.md)")), "{name}");
            assert!(
                text.starts_with("# ") && text.contains("**Doctor**") && text.contains("**Limits**"),
                "{name}"
            );
        }
    }
}
