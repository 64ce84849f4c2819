//! What kind of file is this, is it whole, and what must be dropped from it.
//!
//! [`Inspector`] is a filter between the network and the seal: bytes go in as they arrive, the bytes to keep come out. It promises
//!
//! * **type by content only**: neither a name, nor an extension, nor a declared type is even a parameter: browsers and phones get them wrong;
//! * **wholeness**: a file cut off anywhere in its structure is refused, bytes behind its end are dropped (Motion Photos, polyglots);
//! * **the picture is never touched**: what a decoder reads as pixels comes out byte for byte, only metadata is cut or blanked;
//! * **independence of the split**: output, report and refusal are the same however the input was cut into pushes;
//! * **linear work and bounded state** (at most about 128 KiB per file, wiped on drop), no picture decoder, no temporary file.
//!
//! It never proves a file harmless: entropy-coded data and compressed text are not opened, and of a PDF only its object streams. It is
//! hygiene before the seal; the virus scanner ([`scan`]) and the provider's own checks come after it.
//!
//! | file | its one question |
//! | --- | --- |
//! | `sniff` | which of the four types do the first bytes speak of? |
//! | `limits` | what may this file measure, by the portal and by the provider? |
//! | `refusal` | why not? (stable codes) |
//! | `jpeg` `png` `pdf` `heic` | is the structure whole, and which bytes stay? |
//! | `photos` | how do several photos become the pages of one PDF? |
//! | `strip` | where do EXIF and XMP tell a place? |
//! | `disguise` | is it at the same time another kind of file? |
//! | `scan` | does clamd call it clean? |
//! | `settings` | what may a PDF do, by the configuration? |

mod crc;
mod disguise;
mod heic;
mod jpeg;
mod limits;
mod pdf;
pub(crate) mod photos;
mod png;
mod refusal;
pub(crate) mod scan;
pub(crate) mod settings;
mod sniff;
mod strip;

#[cfg(test)]
mod matrix;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod samples;

pub use limits::Limits;
pub(crate) use limits::MAX_PAGES;
pub use refusal::Refusal;
pub use sniff::{FileType, FileTypes};
pub(crate) use sniff::{SNIFF_BYTES, sniff};

use disguise::{ArchiveWatch, PdfHeadWatch};
use sniff::{PDF_HEAD_BYTES, find_pdf, may_precede_pdf, other_format};
use zeroize::Zeroizing;

/// How much metadata leaves the file before it is sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strip {
    /// Places go, everything else stays: providers read EXIF as a sign of fraud.
    #[default]
    Gps,
    /// Everything a decoder does not need goes; only the orientation stays, so that the picture is not turned.
    All,
    /// Bytes stay as they came; still, nothing behind the end of the file is kept.
    None,
}

/// What one upload is measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Sizes and accepted types; see [`Limits::merged`] for the provider's own.
    pub limits: Limits,
    /// How much metadata leaves the file.
    pub strip: Strip,
    /// What a PDF may do and carry.
    pub pdf: PdfPolicy,
}

/// Whether something is taken, and then only noted in the report, or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    Refuse,
}

/// What a PDF may do and carry. One that opens only with a password is refused always: nobody behind us could open it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PdfPolicy {
    /// Scripts: forms that calculate, invoices that print themselves. Readers run them in a sandbox.
    pub scripts: Verdict,
    /// Other files inside, such as the XML of an electronic invoice.
    pub attachments: Verdict,
    /// Starting a program or opening another file on the reader's machine.
    pub programs: Verdict,
    /// Encrypted with an empty password, as banks and authorities do: opens for everybody.
    pub encrypted: Verdict,
}

impl Default for PdfPolicy {
    fn default() -> Self {
        Self {
            scripts: Verdict::Accept,
            attachments: Verdict::Accept,
            programs: Verdict::Refuse,
            encrypted: Verdict::Accept,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            strip: Strip::Gps,
            pdf: PdfPolicy::default(),
        }
    }
}

/// What was found in a file that may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The type, by content.
    pub file_type: FileType,
    /// Bytes pushed in.
    pub received: u64,
    /// Bytes written to `out`.
    pub kept: u64,
    /// Width and height in pixels as stored (before the orientation is applied). `None` for PDFs, and for HEICs that do not say.
    pub pixels: Option<(u32, u32)>,
    /// Pages of a PDF; `None` if there is an object stream that could not be looked into.
    pub pages: Option<u32>,
    /// Bytes before a PDF's head that were dropped: a byte order mark, blanks, a MIME or printer head.
    pub dropped_leading: u64,
    /// Bytes behind the end of the file that were dropped.
    pub dropped_trailing: u64,
    /// Whether metadata was cut or blanked.
    pub stripped: bool,
    /// Whether bytes were dropped that decoders skip with a warning, such as between the segments of a JPEG.
    pub repaired: bool,
    /// PDF names worth a note which did not lead to a refusal, such as `/OpenAction`; fixed words, never content.
    pub noted: Vec<&'static str>,
}

/// What the filter of one format has found, for the report.
#[derive(Debug, Default)]
struct Findings {
    pixels: Option<(u32, u32)>,
    pages: Option<u32>,
    dropped_trailing: u64,
    stripped: bool,
    repaired: bool,
    noted: Vec<&'static str>,
}

/// The filter. Feed it with [`push`](Self::push), end it with [`finish`](Self::finish); only then is anything it wrote worth keeping.
pub struct Inspector {
    policy: Policy,
    received: u64,
    kept: u64,
    dropped_leading: u64,
    stage: Stage,
    pdf_head: PdfHeadWatch,
    archive: ArchiveWatch,
    refused: Option<Refusal>,
}

enum Stage {
    /// Too few bytes to know the type.
    Head(Zeroizing<Vec<u8>>),
    Body(FileType, Box<Filter>),
}

enum Filter {
    Jpeg(jpeg::Jpeg),
    Png(png::Png),
    Pdf(Box<pdf::Pdf>),
    Heic(heic::Heic),
}

impl Inspector {
    /// A filter for one file.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            received: 0,
            kept: 0,
            dropped_leading: 0,
            stage: Stage::Head(Zeroizing::new(Vec::with_capacity(SNIFF_BYTES))),
            pdf_head: PdfHeadWatch::default(),
            archive: ArchiveWatch::default(),
            refused: None,
        }
    }

    /// Takes the next bytes of the file and appends the bytes to keep to `out`; up to about 64 KiB may be held back until a later call.
    ///
    /// # Errors
    /// The first fault in the order of the file's bytes. It sticks: every later call returns it again, and everything ever written to
    /// `out` for this file has to be thrown away.
    pub fn push(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        if let Some(refusal) = self.refused {
            return Err(refusal);
        }
        let result = self.push_within_limit(input, out);
        self.refused = result.err();
        result
    }

    /// Ends the file and appends what was held back to `out`.
    ///
    /// # Errors
    /// The refusal of an earlier push, or what only the end can tell: empty, too small, cut off, of no known type.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<Report, Refusal> {
        if let Some(refusal) = self.refused {
            return Err(refusal);
        }
        if self.received == 0 {
            return Err(Refusal::Empty);
        }
        self.open_body(out)?;
        let before = out.len();
        let stage = std::mem::replace(&mut self.stage, Stage::Head(Zeroizing::default()));
        let Stage::Body(file_type, filter) = stage else {
            return Err(Refusal::UnknownType);
        };
        let findings = match *filter {
            Filter::Jpeg(filter) => filter.finish()?,
            Filter::Png(filter) => filter.finish()?,
            Filter::Pdf(filter) => filter.finish(out)?,
            Filter::Heic(filter) => filter.finish(out)?,
        };
        self.note_kept(&out[before..]);
        if file_type != FileType::Pdf && self.pdf_head.has_head() {
            return Err(Refusal::Disguised("pdf"));
        }
        if self.archive.is_archive() {
            return Err(Refusal::Disguised("zip"));
        }
        let min = self.policy.limits.least(file_type);
        if self.kept < min {
            return Err(Refusal::TooSmall { min });
        }
        Ok(Report {
            file_type,
            received: self.received,
            kept: self.kept,
            pixels: findings.pixels,
            pages: findings.pages,
            dropped_leading: self.dropped_leading,
            dropped_trailing: findings.dropped_trailing,
            stripped: findings.stripped,
            repaired: findings.repaired,
            noted: findings.noted,
        })
    }

    /// The type, once it is known: after [`SNIFF_BYTES`] bytes, or where something stands before a PDF, after its head.
    pub fn file_type(&self) -> Option<FileType> {
        match self.stage {
            Stage::Head(_) => None,
            Stage::Body(file_type, _) => Some(file_type),
        }
    }

    /// Bytes pushed in so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The part below the limit is looked at first, so that a fault before the limit wins over the limit whatever the split.
    fn push_within_limit(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        let max = self.policy.limits.max_bytes;
        let room = usize::try_from(max - self.received).unwrap_or(usize::MAX);
        self.push_counted(&input[..input.len().min(room)], out)?;
        if input.len() > room { Err(Refusal::TooBig { max }) } else { Ok(()) }
    }

    fn push_counted(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        self.received += input.len() as u64;
        if let Stage::Head(head) = &mut self.stage {
            // Judged at exactly these two lengths, so that the split changes nothing.
            let mut is_known = false;
            if head.len() < SNIFF_BYTES {
                input = gather(head, SNIFF_BYTES, input);
                is_known = head.len() == SNIFF_BYTES && (sniff(head).is_some() || !may_precede_pdf(head));
            }
            if !is_known {
                input = gather(head, PDF_HEAD_BYTES, input);
                if head.len() < PDF_HEAD_BYTES {
                    return Ok(());
                }
            }
            self.open_body(out)?;
        }
        self.filter(input, out)
    }

    /// Decides the type from the head and runs the head through the filter of that type.
    fn open_body(&mut self, out: &mut Vec<u8>) -> Result<(), Refusal> {
        let Stage::Head(head) = &mut self.stage else {
            return Ok(());
        };
        let head = std::mem::take(head);
        let (found, start) = match sniff(&head) {
            Some(found) => (found, 0),
            None => {
                let unknown = other_format(&head).map_or(Refusal::UnknownType, |found| Refusal::OtherFormat { found });
                (FileType::Pdf, find_pdf(&head).ok_or(unknown)?)
            }
        };
        self.dropped_leading = start as u64;
        if !self.policy.limits.accepted.contains(found) || !heic::can_be_stripped(found, self.policy.strip) {
            return Err(Refusal::NotAccepted { found });
        }
        let filter = match found {
            FileType::Jpeg => Filter::Jpeg(jpeg::Jpeg::new(&self.policy)),
            FileType::Png => Filter::Png(png::Png::new(&self.policy)),
            FileType::Pdf => Filter::Pdf(Box::new(pdf::Pdf::new(&self.policy))),
            FileType::Heic => Filter::Heic(heic::Heic::new(&self.policy)),
        };
        self.stage = Stage::Body(found, Box::new(filter));
        self.filter(&head[start..], out)
    }

    fn filter(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        let Stage::Body(_, filter) = &mut self.stage else {
            return Ok(());
        };
        let before = out.len();
        match &mut **filter {
            Filter::Jpeg(filter) => filter.push(input, out)?,
            Filter::Png(filter) => filter.push(input, out)?,
            Filter::Pdf(filter) => filter.push(input, out)?,
            Filter::Heic(filter) => filter.push(input, out)?,
        }
        self.note_kept(&out[before..]);
        Ok(())
    }

    fn note_kept(&mut self, kept: &[u8]) {
        self.kept += kept.len() as u64;
        self.pdf_head.look(kept);
        self.archive.look(kept);
    }
}

/// Moves bytes from `input` until `head` is as long as wanted; what is left of the input.
fn gather<'a>(head: &mut Vec<u8>, wanted: usize, input: &'a [u8]) -> &'a [u8] {
    let (taken, left) = input.split_at(input.len().min(wanted - head.len()));
    head.extend_from_slice(taken);
    left
}

/// Counts bytes looked at, so that a test can show that work grows with the file and not faster. Nothing outside tests.
#[inline]
fn count_work(_bytes: usize) {
    #[cfg(test)]
    WORK.with(|work| work.set(work.get() + _bytes as u64));
}

#[cfg(test)]
thread_local! {
    static WORK: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}
