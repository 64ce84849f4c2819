//! The settings of `[pdf]`: how long a PDF may be, and what it may do and carry. The defaults take what offices, banks and their forms send.

use super::{MAX_PAGES, PdfPolicy, Verdict};
use crate::settings::Reader;

/// What the portal takes of PDFs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PdfSettings {
    pub max_pages: u32,
    pub policy: PdfPolicy,
}

impl Default for PdfSettings {
    fn default() -> Self {
        Self {
            max_pages: MAX_PAGES,
            policy: PdfPolicy::default(),
        }
    }
}

impl PdfSettings {
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let choices = [("accept", Verdict::Accept), ("refuse", Verdict::Refuse)];
        Self {
            max_pages: reader.number("max_pages", MAX_PAGES, 1..=100_000, "pages of a PDF at most"),
            policy: PdfPolicy {
                scripts: reader.choice(
                    "scripts",
                    &choices,
                    "accept",
                    "PDFs with scripts, such as forms that calculate or invoices that print themselves",
                ),
                attachments: reader.choice(
                    "attachments",
                    &choices,
                    "accept",
                    "PDFs with other files inside, such as electronic invoices",
                ),
                programs: reader.choice("programs", &choices, "refuse", "PDFs that start a program or open another file"),
                encrypted: reader.choice(
                    "encrypted",
                    &choices,
                    "accept",
                    "encrypted PDFs that open without a password, as banks and authorities send them",
                ),
            },
        }
    }
}
