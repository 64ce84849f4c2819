//! What is asked for and what was dropped: file types, parts, and the sealed parts of a submission.

use std::fmt;

use time::OffsetDateTime;

use super::id::DocumentId;

/// The file types that may pass; everything else (SVG, HTML, ZIP, DOCX, TIFF, GIF, WebP, AVIF …) is unknown and refused.
/// Decided by content, never by name or by what the sender declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileType {
    Jpeg,
    Png,
    Pdf,
    Heic,
}

impl FileType {
    pub const ALL: [FileType; 4] = [Self::Jpeg, Self::Png, Self::Pdf, Self::Heic];

    /// The registered media type.
    pub const fn mime(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Pdf => "application/pdf",
            Self::Heic => "image/heic",
        }
    }

    /// The extension for the name under which a provider gets the file, without a dot.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Pdf => "pdf",
            Self::Heic => "heic",
        }
    }

    /// The word an applicant reads.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Pdf => "PDF",
            Self::Heic => "HEIC",
        }
    }

    /// A media type with its old aliases; parameters and case are ignored.
    pub fn from_mime(text: &str) -> Option<Self> {
        match text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "image/jpeg" | "image/jpg" | "image/pjpeg" | "image/x-jpeg" | "image/x-jpg" => Some(Self::Jpeg),
            "image/png" | "image/x-png" => Some(Self::Png),
            "application/pdf" | "application/x-pdf" | "text/pdf" => Some(Self::Pdf),
            "image/heic" | "image/heif" | "image/heic-sequence" | "image/heif-sequence" => Some(Self::Heic),
            _ => None,
        }
    }
}

impl fmt::Display for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.extension())
    }
}

/// The name of a part: `front`, `back`, `page-1` … (1–32 characters of `a-z0-9-`), also the form's field name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartName(String);

impl PartName {
    pub fn parse(text: &str) -> Option<Self> {
        word(text, 32).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key of the document catalogue, such as `government-id` (1–64 characters of `a-z0-9-`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DocumentKind(String);

impl DocumentKind {
    pub fn parse(text: &str) -> Option<Self> {
        word(text, 64).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DocumentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name that the configuration gives a provider (1–64 characters of `a-z0-9-`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProviderName(String);

impl ProviderName {
    pub fn parse(text: &str) -> Option<Self> {
        word(text, 64).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn word(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
}

/// The provider's own id for a person. Opaque, personal by linkage: never logged, never in a URL, sealed at rest.
#[derive(Clone, PartialEq, Eq)]
pub struct ApplicantRef(String);

impl ApplicantRef {
    /// 1–128 printable ASCII characters without spaces, quotes, slashes, `?`, `#`, `%` or backslashes: safe in every provider's path.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_graphic() && !br#""'/\?#%<>`"#.contains(&b))
            && text != "."
            && text != "..";
        fits.then(|| Self(text.to_owned()))
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApplicantRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted applicant]")
    }
}

/// The case of a help desk that a request belongs to, such as `ZD-4711`. Not the applicant's reference, and told to receivers of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketRef(String);

impl TicketRef {
    /// 1–64 ASCII letters, digits and `-`, `_`, `.`, `:`, `#`, beginning with a letter, a digit or `#`.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:#".contains(&b))
            && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '#');
        fits.then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A keyed hash under which a request is found by a word that the store does not know: see `workflow::query::search`.
pub type SearchWord = [u8; 16];

/// Bytes that only a key outside the store can open (an applicant reference, a message, metadata).
#[derive(Clone, PartialEq, Eq)]
pub struct SealedText(pub Vec<u8>);

impl fmt::Debug for SealedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[sealed, {} bytes]", self.0.len())
    }
}

/// What one part must be, fixed when the request is issued.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartSpec {
    pub name: PartName,
    /// Sorted, never empty.
    pub accepted: Vec<FileType>,
    /// Bytes received, both ends included.
    pub min_bytes: u64,
    pub max_bytes: u64,
    /// What a picture must be beyond that, and a PDF need not.
    pub pictures: PictureLimits,
}

/// Bounds on pictures alone; 0: none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PictureLimits {
    /// Bytes kept.
    pub min_bytes: u64,
    /// Fewest pixels on the shorter side.
    pub min_side: u32,
    /// Most pixels on the longer side.
    pub max_side: u32,
}

impl PartSpec {
    /// The fewest bytes of a file of this type.
    pub fn least(&self, file_type: FileType) -> u64 {
        match file_type {
            FileType::Pdf => self.min_bytes,
            FileType::Jpeg | FileType::Png | FileType::Heic => self.min_bytes.max(self.pictures.min_bytes),
        }
    }
}

/// Where the erasure secret of a submission lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SlotRef {
    /// The place, from 0.
    pub index: u64,
    /// Random, fresh for each use of the place: tells a reused place from its earlier user.
    pub generation: u64,
}

/// One sealed part at rest. Its chunks stand in the blob store under (document, file index, chunk number).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredPart {
    pub name: PartName,
    pub file_type: FileType,
    /// The sealed document header (see crypto::header), whole.
    pub header: Vec<u8>,
    /// The sealed meta box.
    pub meta: Vec<u8>,
    /// Keyed digest of the plaintext; meaningless once the erasure secret is gone.
    pub digest: [u8; 32],
    /// Plaintext bytes kept.
    pub size: u64,
    pub chunks: u32,
}

/// Proof that the first chunks of one file of a document survive a power cut. The store that has synced them makes it, and nobody else; no transition that
/// names chunks can be made without it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Durable {
    document: DocumentId,
    file_index: u8,
    chunks: u32,
}

impl Durable {
    /// For the store alone, right after its sync.
    pub fn synced(document: DocumentId, file_index: u8, chunks: u32) -> Self {
        Self {
            document,
            file_index,
            chunks,
        }
    }

    pub fn document(&self) -> DocumentId {
        self.document
    }

    /// Whether it is about all chunks of that part of the document, the `place`-th that was asked for.
    pub fn covers(&self, document: DocumentId, place: usize, part: &StoredPart) -> bool {
        self.document == document && usize::from(self.file_index) == place && self.chunks == part.chunks
    }
}

/// A complete submission: every part of one drop, sealed and durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document {
    pub id: DocumentId,
    pub slot: SlotRef,
    pub received_at: OffsetDateTime,
    /// The retention deadline: purged at this instant whatever else happens.
    pub purge_at: OffsetDateTime,
    pub parts: Vec<StoredPart>,
    /// SHA-256 of the browser's receipt cookie, so that its retry after a lost answer is told "already received".
    pub receiver: Option<[u8; 32]>,
    /// Bytes that were sent of each part, so that a program's retry is told the same. Empty in rows from before it was noted.
    pub lengths: Vec<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_and_nothing_else() {
        for good in ["front", "page-1", "a"] {
            assert!(PartName::parse(good).is_some(), "{good}");
        }
        for bad in ["", "-x", "Front", "a b", "ä", "../x", &"a".repeat(33)] {
            assert!(PartName::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn ticket_references_are_plain_words() {
        for good in ["ZD-4711", "#4711", "INC0012345", "case:4_7.1"] {
            assert_eq!(TicketRef::parse(good).as_ref().map(TicketRef::as_str), Some(good));
        }
        for bad in ["", "-1", "a b", "a/b", "ä", "=1+1", "<b>", "a\n", &"a".repeat(65)] {
            assert_eq!(TicketRef::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn applicant_references_cannot_leave_a_path() {
        for good in ["acct_1", "5bb8cca10a975a624903cf65", "a.b:c@d", "acct_1,person_2"] {
            assert!(ApplicantRef::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a?b",
            "a#b",
            "a%2Fb",
            "a b",
            "a\nb",
            "a\\b",
            "ü",
            &"a".repeat(129),
        ] {
            assert!(ApplicantRef::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(format!("{:?}", ApplicantRef("x".into())), "[redacted applicant]");
    }
}
