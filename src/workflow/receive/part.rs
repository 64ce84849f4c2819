//! One part on its way in.

use std::sync::atomic::Ordering;

use super::{Held, ReceiveError, Submission, place_of};
use crate::crypto::header::{Context, ErasureKind};
use crate::crypto::meta::Meta;
use crate::crypto::seal::DocumentSealer;
use crate::crypto::stream::CHUNK_LEN;
use crate::domain::document::{Durable, PartName, PartSpec, StoredPart};
use crate::domain::transition::{Refusal as Illegal, SealedPart, Transition};
use crate::inspect::{Inspector, Refusal};
use crate::storage::PartWriter;
use crate::workflow::WorkflowError;
use crate::workflow::delivery::outbound::Target;
use crate::workflow::lanes::{Hold, Turn};

/// Bytes that are inspected at a time.
const PIECE_LEN: usize = 16 << 10;

/// One part on its way in: inspected, sealed and stored as it arrives.
pub struct PartReceiver<'a> {
    pub(super) submission: &'a mut Submission,
    pub(super) spec: PartSpec,
    pub(super) inspector: Option<Inspector>,
    /// Other writers of this part, if there can be any.
    pub(super) turn: Option<Turn>,
    /// What the inspector let through of the piece at hand.
    pub(super) kept: Vec<u8>,
    /// Inspected plaintext on its way to a full chunk. One buffer for the whole part, with room for its tag.
    pub(super) chunk: Vec<u8>,
    pub(super) sealing: Option<Sealing>,
    pub(super) file_name: String,
    pub(super) declared: String,
}

/// A part whose first chunk was full.
pub(super) struct Sealing {
    header: Vec<u8>,
    sealer: DocumentSealer,
    writer: Box<dyn PartWriter>,
}

impl PartReceiver<'_> {
    /// Takes the next bytes off the socket.
    pub async fn push(&mut self, bytes: &[u8]) -> Result<(), ReceiveError> {
        // In small pieces, so that a large read needs no large buffer.
        for piece in bytes.chunks(PIECE_LEN) {
            let inspector = self.inspector.as_mut().ok_or(ReceiveError::CutOff)?;
            if let Err(refusal) = inspector.push(piece, &mut self.kept) {
                return Err(self.refuse(refusal));
            }
            self.take_kept().await?;
        }
        Ok(())
    }

    /// The part is complete.
    pub async fn finish(mut self) -> Result<(), ReceiveError> {
        let inspector = self.inspector.take().ok_or(ReceiveError::CutOff)?;
        let report = match inspector.finish(&mut self.kept) {
            Ok(report) => report,
            Err(refusal) => return Err(self.refuse(refusal)),
        };
        self.take_kept().await?;
        self.store(true).await?;
        let Sealing {
            header,
            sealer,
            mut writer,
        } = self.sealing.take().ok_or(ReceiveError::CutOff)?;
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
            chunks: u32::try_from(sealed.chunks).map_err(|_| ReceiveError::CutOff)?,
        };
        if self.submission.lasting.is_some() {
            let _hold = hold(self.turn.as_ref()).await?;
            self.submission.keep(part.clone(), durable.clone(), report.received).await?;
        }
        self.submission.parts.push(part);
        self.submission.durable.push(durable);
        Ok(())
    }

    fn refuse(&mut self, refusal: Refusal) -> ReceiveError {
        self.submission.portal.counters.refused.fetch_add(1, Ordering::Relaxed);
        ReceiveError::File {
            part: self.spec.name.to_string(),
            refusal,
        }
    }

    /// Moves what was let through into chunks. A full chunk goes out only when a byte for the next one is here: the last must not be empty, and only
    /// the end tells which is last.
    async fn take_kept(&mut self) -> Result<(), ReceiveError> {
        let mut taken = 0;
        while taken < self.kept.len() {
            if self.chunk.len() == CHUNK_LEN {
                self.store(false).await?;
                // Everybody else of this thread comes in between two chunks: a page must not wait for a whole read of every upload.
                tokio::task::yield_now().await;
            }
            let room = (CHUNK_LEN - self.chunk.len()).min(self.kept.len() - taken);
            self.chunk.extend_from_slice(&self.kept[taken..taken + room]);
            taken += room;
        }
        self.kept.clear();
        Ok(())
    }

    async fn store(&mut self, last: bool) -> Result<(), ReceiveError> {
        let _hold = hold(self.turn.as_ref()).await?;
        if self.sealing.is_none() {
            self.sealing = Some(self.start().await?);
        }
        let Some(sealing) = &mut self.sealing else {
            return Err(ReceiveError::CutOff);
        };
        sealing.sealer.seal_chunk_in_place(&mut self.chunk, last)?;
        let writing = self.submission.writing().await?;
        sealing.writer.put(&self.chunk).await?;
        drop(writing);
        crate::crash::point("C6");
        self.chunk.clear();
        Ok(())
    }

    async fn start(&mut self) -> Result<Sealing, ReceiveError> {
        let (slot, secret) = self.submission.begin().await?;
        self.submission.replace(&self.spec.name).await?;
        let context = Context {
            doc_id: self.submission.document.0,
            slot,
            file_index: self.index(),
            file_count: u8::try_from(self.submission.request.parts.len()).map_err(|_| ReceiveError::CutOff)?,
            erasure: ErasureKind::LocalSlot,
        };
        let public = self.submission.portal.keyring.current();
        let (header, sealer) = DocumentSealer::begin(&public, &context, &secret)?;
        let _writing = self.submission.writing().await?;
        let writer = self
            .submission
            .portal
            .blobs
            .writer(self.submission.document, self.index(), 0)
            .await?;
        Ok(Sealing { header, sealer, writer })
    }

    fn index(&self) -> u8 {
        place_of(&self.submission.request, &self.spec.name)
    }
}

async fn hold(turn: Option<&Turn>) -> Result<Option<Hold>, ReceiveError> {
    match turn {
        None => Ok(None),
        Some(turn) => match turn.hold().await {
            None => Err(WorkflowError::Refused(Illegal::Superseded).into()),
            held => Ok(held),
        },
    }
}

impl Submission {
    /// A part that is here gives way to the one that is coming: its file is about to be replaced.
    async fn replace(&mut self, part: &PartName) -> Result<(), ReceiveError> {
        let document = self.document;
        let Some(lasting) = self.lasting.as_mut().filter(|l| l.here.contains(part)) else {
            return Ok(());
        };
        let drop_part = Transition::DropPart {
            document,
            part: part.clone(),
        };
        self.portal.records.transition(self.request.id, drop_part).await?;
        lasting.here.retain(|name| name != part);
        Ok(())
    }

    /// Keeps one sealed part durably. With the last one the drop is received.
    async fn keep(&mut self, part: StoredPart, durable: Durable, length: u64) -> Result<(), ReceiveError> {
        let (Some(held), Some(lasting)) = (self.held.take(), &mut self.lasting) else {
            return Err(WorkflowError::Refused(Illegal::Incomplete).into());
        };
        let slot = held.open()?.slot();
        let sealed = SealedPart {
            document: self.document,
            slot,
            generation: self.request.link.generation,
            started_at: self.asked_at,
            part,
            durable,
            length,
            upload: lasting.upload,
            joins: matches!(held, Held::Owned(_)),
            receiver: self.receiver,
        };
        let name = sealed.part.name.clone();
        match self
            .portal
            .records
            .transition(self.request.id, Transition::StorePart(Box::new(sealed)))
            .await
        {
            Ok(request) => {
                crate::crash::point("C10");
                self.held = match held {
                    Held::Fresh(fresh) => fresh.owned().map(Held::Owned),
                    owned => Some(owned),
                };
                lasting.here.push(name);
                lasting.slot = Some(slot);
                let received = request.document().map(|d| d.parts.iter().map(|p| p.size).sum());
                if let Some(bytes) = received {
                    super::count(&self.portal, bytes);
                    lasting.done = Some(request);
                }
                // Its staged bytes, and those of every other upload that did not win.
                self.portal.cleanup.bell.notify_one();
                Ok(())
            }
            Err(error) => Err(match held {
                Held::Fresh(fresh) => super::refused(fresh, error).await,
                Held::Owned(_) => error.into(),
            }),
        }
    }
}
