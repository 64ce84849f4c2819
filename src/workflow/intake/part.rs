//! One part on its way in: inspected, encrypted and stored as it arrives.

use std::sync::atomic::Ordering;

use super::part_lock::{Claim, WriteGuard};
use super::submission::{Source, file_place};
use super::{IntakeError, Submission};
use crate::crypto::header::{Context, ErasureKind};
use crate::crypto::meta::Meta;
use crate::crypto::seal::DocumentSealer;
use crate::crypto::stream::{CHUNK_LEN, TAG_LEN};
use crate::domain::document::{PartSpec, StoredPart};
use crate::domain::request::DocumentRequest;
use crate::domain::transition::Refusal as Illegal;
use crate::failpoint::{self, Failpoint};
use crate::inspect::photos::{JoinedPhotos, Photos};
use crate::inspect::{FileTypes, Inspector, Limits, Policy as InspectPolicy, Refusal, Report, Strip as InspectStrip};
use crate::storage::PartWriter;
use crate::workflow::Portal;
use crate::workflow::catalogue::Strip;
use crate::workflow::delivery::outbound::Target;

/// Bytes that are inspected at a time, at most.
const PIECE_LEN: usize = 16 << 10;
/// The same when the chunk is full: what is let through of these has to be moved to the next one.
const PROBE_LEN: usize = 1 << 10;
/// What a document of several photos is called: it has the name of none of them.
const PHOTOS_NAME: &str = "photos.pdf";

/// See the module.
pub struct PartReceiver<'a> {
    submission: &'a mut Submission,
    spec: PartSpec,
    filter: Option<Filter>,
    /// Against other writers of this part, if there can be any.
    claim: Option<Claim>,
    /// What the inspector let through, on its way to a full chunk. One buffer for the whole part: bytes come here from the socket's buffer, are sealed in place
    /// and written from here.
    chunk: Vec<u8>,
    sealing: Option<Sealing>,
    file_name: String,
    declared: String,
}

/// What judges the bytes that come, and lets through those that are kept.
pub(super) enum Filter {
    File(Box<Inspector>),
    /// Several photos that become one PDF; whoever pushes says where each begins and ends.
    Photos(Box<Photos>),
    /// The same of one run of bytes.
    Joined(Box<JoinedPhotos>),
}

impl Filter {
    /// For one file or, where lengths are given, for that many photos.
    pub(super) fn new(policy: InspectPolicy, photos: &[u64]) -> Self {
        match photos {
            [] => Self::File(Box::new(Inspector::new(policy))),
            lengths => Self::Joined(Box::new(JoinedPhotos::new(policy, lengths))),
        }
    }

    pub(super) fn push(&mut self, piece: &[u8], kept: &mut Vec<u8>) -> Result<(), Refusal> {
        match self {
            Self::File(inspector) => inspector.push(piece, kept),
            Self::Photos(photos) => photos.push(piece, kept),
            Self::Joined(photos) => photos.push(piece, kept),
        }
    }

    fn finish(self, kept: &mut Vec<u8>) -> Result<Report, Refusal> {
        match self {
            Self::File(inspector) => inspector.finish(kept),
            Self::Photos(photos) => photos.finish(kept),
            Self::Joined(photos) => photos.finish(kept),
        }
    }
}

/// A part whose first chunk was full.
struct Sealing {
    header: Vec<u8>,
    sealer: DocumentSealer,
    writer: Box<dyn PartWriter>,
}

/// What one part consists of.
enum Brought<'a> {
    /// One file. Name and type are what the sender says; only the meta box keeps them.
    File { name: &'a str, declared: &'a str },
    /// Photos that become one PDF, each between [`PartReceiver::begin_photo`] and [`PartReceiver::end_photo`].
    Photos,
    /// The same in one run of bytes, with the length of each.
    Joined(&'a [u64]),
}

impl Submission {
    /// Starts one part that comes as one file.
    pub fn part(&mut self, spec: PartSpec, file_name: &str, declared: &str) -> PartReceiver<'_> {
        let name = file_name;
        PartReceiver::new(self, spec, &Brought::File { name, declared })
    }

    /// Starts one part that comes as several photos.
    pub fn photos(&mut self, spec: PartSpec) -> PartReceiver<'_> {
        PartReceiver::new(self, spec, &Brought::Photos)
    }

    /// Starts one part that comes as several photos in one run of bytes.
    pub(super) fn joined_photos(&mut self, spec: PartSpec, lengths: &[u64]) -> PartReceiver<'_> {
        PartReceiver::new(self, spec, &Brought::Joined(lengths))
    }
}

impl<'a> PartReceiver<'a> {
    fn new(submission: &'a mut Submission, spec: PartSpec, brought: &Brought<'_>) -> Self {
        let policy = policy(&submission.portal, &submission.request, &spec);
        let (filter, file_name, declared) = match *brought {
            Brought::File { name, declared } => (Filter::new(policy, &[]), name, declared),
            Brought::Photos => (Filter::Photos(Box::new(Photos::new(policy))), PHOTOS_NAME, ""),
            Brought::Joined(lengths) => (Filter::new(policy, lengths), PHOTOS_NAME, ""),
        };
        Self {
            filter: Some(filter),
            claim: None,
            chunk: Vec::with_capacity(CHUNK_LEN + PROBE_LEN.max(TAG_LEN)),
            sealing: None,
            file_name: clean_name(file_name),
            declared: declared.chars().filter(|c| c.is_ascii_graphic()).take(100).collect(),
            submission,
            spec,
        }
    }

    /// The next photo begins.
    pub fn begin_photo(&mut self) -> Result<(), IntakeError> {
        match self.filter.as_mut() {
            Some(Filter::Photos(photos)) => photos.begin().map_err(|refusal| self.refuse(refusal)),
            Some(Filter::File(_) | Filter::Joined(_)) | None => Err(IntakeError::CutOff),
        }
    }

    /// The photo is complete.
    pub async fn end_photo(&mut self) -> Result<(), IntakeError> {
        match self.filter.as_mut() {
            Some(Filter::Photos(photos)) => photos.end(&mut self.chunk).map_err(|refusal| self.refuse(refusal))?,
            Some(Filter::File(_) | Filter::Joined(_)) | None => return Err(IntakeError::CutOff),
        }
        self.put_full().await
    }

    /// Takes the next bytes off the socket.
    pub async fn push(&mut self, bytes: &[u8]) -> Result<(), IntakeError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            // So many that what passes unchanged ends where the chunk does.
            let room = CHUNK_LEN.saturating_sub(self.chunk.len()).clamp(PROBE_LEN, PIECE_LEN);
            let (piece, behind) = rest.split_at(room.min(rest.len()));
            let filter = self.filter.as_mut().ok_or(IntakeError::CutOff)?;
            if let Err(refusal) = filter.push(piece, &mut self.chunk) {
                return Err(self.refuse(refusal));
            }
            self.put_full().await?;
            rest = behind;
        }
        Ok(())
    }

    /// The part is complete, and durable when this returns.
    pub async fn finish(mut self) -> Result<(), IntakeError> {
        let filter = self.filter.take().ok_or(IntakeError::CutOff)?;
        let report = match filter.finish(&mut self.chunk) {
            Ok(report) => report,
            Err(refusal) => return Err(self.refuse(refusal)),
        };
        self.put_full().await?;
        self.put_chunk(true).await?;
        let Sealing {
            header,
            sealer,
            mut writer,
        } = self.sealing.take().ok_or(IntakeError::CutOff)?;
        let writing = self.submission.writing().await?;
        let durable = writer.sync().await?;
        drop(writing);
        let target = Target::of(&self.submission.portal, &self.submission.request, &self.spec.name)?;
        let meta = Meta {
            file_name: std::mem::take(&mut self.file_name),
            declared_type: std::mem::take(&mut self.declared),
            sniffed_type: report.file_type.mime().to_owned(),
            size: sealer.size(),
            width: report.pixels.map(|(width, _)| width),
            height: report.pixels.map(|(_, height)| height),
            target: Some(target.encode()),
        };
        let sealed = sealer.finish(&meta)?;
        let part = StoredPart {
            name: self.spec.name.clone(),
            file_type: report.file_type,
            header,
            meta: sealed.meta_box,
            digest: sealed.digest,
            size: sealed.size,
            chunks: u32::try_from(sealed.chunks).map_err(|_| IntakeError::CutOff)?,
        };
        let guard = self.write_guard().await?;
        self.submission.store(part, durable, report.received, guard).await
    }

    fn refuse(&mut self, refusal: Refusal) -> IntakeError {
        self.submission.portal.counters.refused.fetch_add(1, Ordering::Relaxed);
        IntakeError::File {
            part: self.spec.name.to_string(),
            refusal,
        }
    }

    /// Puts what fills a chunk. A full chunk goes out only when a byte for the next one is here: the last must not be empty, and only the end tells which is
    /// last.
    async fn put_full(&mut self) -> Result<(), IntakeError> {
        while self.chunk.len() > CHUNK_LEN {
            let rest = self.chunk.split_off(CHUNK_LEN);
            self.put_chunk(false).await?;
            self.chunk.extend_from_slice(&rest);
            // Everybody else of this thread comes in between two chunks: a page must not wait for a whole read of every upload.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn put_chunk(&mut self, last: bool) -> Result<(), IntakeError> {
        let _guard = match self.sealing {
            Some(_) => self.write_guard().await?,
            None => self.start().await?,
        };
        let sealing = self.sealing.as_mut().ok_or(IntakeError::CutOff)?;
        sealing.sealer.seal_chunk_in_place(&mut self.chunk, last)?;
        let writing = self.submission.writing().await?;
        sealing.writer.put(&self.chunk).await?;
        drop(writing);
        failpoint::pass(Failpoint::ChunkWritten);
        self.chunk.clear();
        Ok(())
    }

    /// Opens the file of the part. In a document that has parts already, others may be writing the same one: the newest takes it over.
    async fn start(&mut self) -> Result<Option<WriteGuard>, IntakeError> {
        let name = &self.spec.name;
        let (file_index, file_count) = file_place(&self.submission.request, name)?;
        let open = self.submission.open().await?;
        let (slot, secret) = (open.slot(), open.secret().clone());
        if self.submission.joined() && self.submission.source == Source::Form {
            let locks = &self.submission.portal.intake.part_locks;
            self.claim = Some(locks.claim(self.submission.request.id, file_index));
        }
        let guard = self.write_guard().await?;
        self.submission.replace(name).await?;
        let context = Context {
            doc_id: self.submission.document.0,
            slot,
            file_index,
            file_count,
            erasure: ErasureKind::LocalSlot,
        };
        let public = self.submission.portal.keyring.current();
        let (header, sealer) = DocumentSealer::begin(&public, &context, &secret)?;
        let _writing = self.submission.writing().await?;
        let blobs = &self.submission.portal.blobs;
        let writer = blobs.writer(self.submission.document, file_index, 0).await?;
        self.sealing = Some(Sealing { header, sealer, writer });
        Ok(guard)
    }

    async fn write_guard(&self) -> Result<Option<WriteGuard>, IntakeError> {
        let Some(claim) = &self.claim else { return Ok(None) };
        let guard = claim.write().await;
        guard.map(Some).ok_or_else(|| IntakeError::refused(Illegal::Superseded))
    }
}

/// What a part's files are measured against.
pub(super) fn policy(portal: &Portal, request: &DocumentRequest, spec: &PartSpec) -> InspectPolicy {
    let strip = portal.catalogue.get(&request.document).map_or(Strip::Gps, |e| e.strip);
    let bounds = Limits::default();
    let pdf = &portal.policy.pdf;
    InspectPolicy {
        limits: Limits {
            accepted: FileTypes::of(&spec.accepted),
            min_bytes: spec.min_bytes,
            min_picture_bytes: spec.pictures.min_bytes,
            max_bytes: spec.max_bytes,
            min_side: spec.pictures.min_side.max(bounds.min_side),
            max_side: match spec.pictures.max_side {
                0 => bounds.max_side,
                theirs => theirs.min(bounds.max_side),
            },
            max_pages: pdf.max_pages,
            ..bounds
        },
        strip: match strip {
            Strip::Gps => InspectStrip::Gps,
            Strip::All => InspectStrip::All,
            Strip::None => InspectStrip::None,
        },
        pdf: pdf.policy,
    }
}

/// A file name that can harm nobody: the last path component, no control or direction characters, at most 255 bytes.
pub fn clean_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut clean = String::new();
    for c in last.chars() {
        let direction = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        let c = if c.is_control() || direction { '\u{fffd}' } else { c };
        if clean.len() + c.len_utf8() > 255 {
            break;
        }
        clean.push(c);
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_lose_what_could_harm() {
        assert_eq!(clean_name("../../etc/passwd"), "passwd");
        assert_eq!(clean_name("C:\\Users\\x\\id.jpg"), "id.jpg");
        assert_eq!(clean_name("a\u{202e}gpj.exe"), "a\u{fffd}gpj.exe");
        assert_eq!(clean_name("a\r\nb\0c"), "a\u{fffd}\u{fffd}b\u{fffd}c");
        assert!(clean_name(&"ü".repeat(10_000)).len() <= 255);
        assert_eq!(clean_name(""), "");
    }
}
