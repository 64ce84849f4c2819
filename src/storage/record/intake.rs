//! The stored form of parts: at rest, finished and waiting for the others, staged as they came.
//!
//! ```text
//! intake    = [document, slot, slot generation, started, kind]
//! kind      = [0, [[finished…], touched]] | [1, [part, length, offset, box, touched]] | [2, []]
//! finished  = [part, length sent]
//! ```

use minicbor::{Decode, Encode};

use super::{Bytes, Read, array, bytes, file_type, instant, type_number, word};
use crate::domain::document::{PartName, SlotRef, StoredPart};
use crate::domain::id::DocumentId;
use crate::domain::request::{FinishedPart, Intake, IntakeKind, StagedPart};
use crate::storage::clock::to_ms;

#[derive(Encode, Decode)]
pub(super) struct IntakeRow {
    #[n(0)]
    document: Bytes,
    #[n(1)]
    slot: u64,
    #[n(2)]
    generation: u64,
    #[n(3)]
    started_at: i64,
    #[n(4)]
    kind: KindRow,
}

#[derive(Encode, Decode)]
enum KindRow {
    #[n(0)]
    Partial(#[n(0)] Vec<FinishedRow>, #[n(1)] i64),
    #[n(1)]
    Resumable(#[n(0)] String, #[n(1)] u64, #[n(2)] u64, #[n(3)] Bytes, #[n(4)] i64),
    #[n(2)]
    Discarding,
}

#[derive(Encode, Decode)]
struct FinishedRow {
    #[n(0)]
    part: StoredPartRow,
    #[n(1)]
    length: u64,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct StoredPartRow {
    #[n(0)]
    name: String,
    #[n(1)]
    file_type: u8,
    #[n(2)]
    header: Bytes,
    #[n(3)]
    meta: Bytes,
    #[n(4)]
    digest: Bytes,
    #[n(5)]
    size: u64,
    #[n(6)]
    chunks: u32,
}

impl From<&Intake> for IntakeRow {
    fn from(r: &Intake) -> Self {
        Self {
            document: bytes(&r.document.0),
            slot: r.slot.index,
            generation: r.slot.generation,
            started_at: to_ms(r.started_at),
            kind: match &r.kind {
                IntakeKind::Partial { finished, touched_at } => {
                    KindRow::Partial(finished.iter().map(FinishedRow::from).collect(), to_ms(*touched_at))
                }
                IntakeKind::Resumable { staged, touched_at } => KindRow::Resumable(
                    staged.part.to_string(),
                    staged.length,
                    staged.offset,
                    bytes(&staged.state),
                    to_ms(*touched_at),
                ),
                IntakeKind::Discarding => KindRow::Discarding,
            },
        }
    }
}

impl IntakeRow {
    pub(super) fn into_domain(self) -> Read<Intake> {
        let kind = match self.kind {
            KindRow::Partial(finished, touched_at) => IntakeKind::Partial {
                finished: finished.into_iter().map(FinishedRow::into_domain).collect::<Read<_>>()?,
                touched_at: instant(touched_at)?,
            },
            KindRow::Resumable(part, length, offset, state, touched_at) => IntakeKind::Resumable {
                staged: StagedPart {
                    part: word(PartName::parse(&part))?,
                    length,
                    offset,
                    state: state.into(),
                },
                touched_at: instant(touched_at)?,
            },
            KindRow::Discarding => IntakeKind::Discarding,
        };
        Ok(Intake {
            document: DocumentId(array(&self.document)?),
            slot: SlotRef {
                index: self.slot,
                generation: self.generation,
            },
            started_at: instant(self.started_at)?,
            kind,
        })
    }
}

impl From<&FinishedPart> for FinishedRow {
    fn from(f: &FinishedPart) -> Self {
        Self {
            part: StoredPartRow::from(&f.part),
            length: f.length,
        }
    }
}

impl FinishedRow {
    fn into_domain(self) -> Read<FinishedPart> {
        Ok(FinishedPart {
            part: self.part.into_domain()?,
            length: self.length,
        })
    }
}

impl From<&StoredPart> for StoredPartRow {
    fn from(p: &StoredPart) -> Self {
        Self {
            name: p.name.to_string(),
            file_type: type_number(p.file_type),
            header: bytes(&p.header),
            meta: bytes(&p.meta),
            digest: bytes(&p.digest),
            size: p.size,
            chunks: p.chunks,
        }
    }
}

impl StoredPartRow {
    pub(super) fn into_domain(self) -> Read<StoredPart> {
        Ok(StoredPart {
            name: word(PartName::parse(&self.name))?,
            file_type: file_type(self.file_type)?,
            header: self.header.into(),
            meta: self.meta.into(),
            digest: array(&self.digest)?,
            size: self.size,
            chunks: self.chunks,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::domain::document::FileType;
    use time::macros::datetime;

    fn intake(kind: IntakeKind) -> Intake {
        Intake {
            document: DocumentId([7; 16]),
            slot: SlotRef { index: 3, generation: 99 },
            started_at: datetime!(2026-01-01 0:00 UTC),
            kind,
        }
    }

    #[test]
    fn what_is_on_its_way_reads_back() {
        let part = StoredPart {
            name: PartName::parse("front").unwrap(),
            file_type: FileType::Png,
            header: vec![1; 216],
            meta: vec![2; 540],
            digest: [3; 32],
            size: 70_000,
            chunks: 2,
        };
        let touched_at = datetime!(2026-01-01 0:07 UTC);
        let staged = StagedPart {
            part: PartName::parse("back").unwrap(),
            length: 9,
            offset: 4,
            state: vec![5; 465],
        };
        for kind in [
            IntakeKind::Partial {
                finished: vec![FinishedPart { part, length: 70_001 }],
                touched_at,
            },
            IntakeKind::Resumable { staged, touched_at },
            IntakeKind::Discarding,
        ] {
            let row = minicbor::to_vec(IntakeRow::from(&intake(kind.clone()))).unwrap();
            let read: IntakeRow = minicbor::decode(&row).unwrap();
            assert_eq!(read.into_domain(), Ok(intake(kind)));
        }
    }
}
