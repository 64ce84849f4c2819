//! What the fuzz targets share: the claims about a room, checked on any input.
//!
//! Run one: `cargo fuzz run inspect_jpeg` (nightly, or stable with `RUSTC_BOOTSTRAP=1`). Good seeds: `tests/fixtures/inspect` and `tests/fixtures/cases`.
//! Add one: a file in `fuzz_targets`, a `[[bin]]` in `Cargo.toml`, and its claims here.

use nightdrop::testing::inspect::{FileType, FileTypes, Inspector, Limits, Policy, Refusal, Report, Strip};

/// The room `inspect`, on one file: no panic, no difference by the split, and what passed passes again unchanged.
/// The first byte chooses the metadata policy and the split; `file` makes the file from the rest.
pub fn inspect(data: &[u8], file: impl FnOnce(&[u8]) -> Vec<u8>) {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    let file = file(rest);
    let strip = [Strip::Gps, Strip::All, Strip::None][usize::from(choice % 3)];
    let limits = Limits {
        accepted: FileTypes::of(&FileType::ALL),
        ..Limits::default()
    };
    let policy = Policy {
        limits,
        strip,
        ..Policy::default()
    };
    let whole = run(policy, &file, usize::MAX);
    assert_eq!(run(policy, &file, 1 + usize::from(choice / 3)), whole, "the split changes nothing");
    if let Ok((report, kept)) = whole {
        // An orientation of its own may replace a smaller EXIF block, so that a file grows by some bytes, never more.
        assert!(kept.len() <= file.len() + 64 && report.kept == kept.len() as u64);
        let (again, same) = run(policy, &kept, usize::MAX).expect("what passed passes again");
        assert_eq!(same, kept);
        assert_eq!(again.pixels, report.pixels);
    }
}

fn run(policy: Policy, file: &[u8], piece: usize) -> Result<(Report, Vec<u8>), Refusal> {
    let mut inspector = Inspector::new(policy);
    let mut out = Vec::new();
    for piece in file.chunks(piece) {
        inspector.push(piece, &mut out)?;
    }
    inspector.finish(&mut out).map(|report| (report, out))
}

/// A PNG whose checksums are right, so that the search gets behind them: chunks of two bytes of length, four of kind, and data.
pub fn png(mut data: &[u8]) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    while let Some(([l1, l0, kind @ ..], rest)) = data.split_first_chunk::<6>() {
        let length = usize::from(u16::from_be_bytes([*l1, *l0])).min(rest.len());
        let (body, rest) = rest.split_at(length);
        data = rest;
        file.extend((length as u32).to_be_bytes());
        let start = file.len();
        file.extend(kind);
        file.extend(body);
        let sum = crc32(&file[start..]);
        file.extend(sum.to_be_bytes());
    }
    file
}

/// The textbook loop, one bit a step.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { 0xEDB8_8320 ^ (crc >> 1) } else { crc >> 1 }
        })
    })
}
