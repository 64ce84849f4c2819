//! Where do EXIF and XMP tell a place? Blanks it in a buffered block of at most 64 KiB, without moving anything else.
//!
//! EXIF is a TIFF file in miniature: a header, a chain of directories (IFD0, and IFD1 for the thumbnail), and directories hanging from
//! entries. The GPS directory hangs from tag 0x8825. It is removed whole: the pointer leaves its directory, the entries and all values
//! they point to become zeros. Every other offset stays true, so that the rest remains readable for checks against fraud.
//!
//! IPTC, Photoshop and XMP data that hang from entries of their own, as in TIFF files, go in the same way.
//!
//! A block that cannot be read with certainty has to go as a whole ([`Scrub::Drop`]): losing metadata harms nobody, leaking a home does. Only its
//! orientation is written anew, so that the picture is not turned.
//! Not looked into: maker notes and the thumbnail picture, whose formats are the makers' own.

mod place;

use super::count_work;
pub(super) use place::{is_place_field, mentions_a_place, names_a_place, resources_tell_a_place};

const GPS_POINTER: u16 = 0x8825;
const EXIF_POINTER: u16 = 0x8769;
const ORIENTATION: u16 = 0x0112;
/// XMP, IPTC and Photoshop data as values of entries.
const BLOCKS: [u16; 3] = [0x02BC, 0x83BB, 0x8649];

/// EXIF 3.0 defines 32 GPS tags; twice as many is no camera's work.
const MAX_GPS_ENTRIES: usize = 64;
/// IFD0, IFD1 and their Exif directories are four.
const MAX_DIRECTORIES: usize = 8;

/// What became of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scrub {
    /// It tells no place.
    Untouched,
    /// It told a place and does no more; its length is the same.
    Changed,
    /// It must not be kept.
    Drop,
}

/// Removes the GPS directories from a TIFF block (an EXIF payload without its `Exif\0\0`). Work is linear in the block.
pub(super) fn scrub_gps(tiff: &mut [u8]) -> Scrub {
    count_work(tiff.len());
    let Some(order) = Order::of(tiff) else {
        return Scrub::Drop;
    };
    let pointers = match find_gps_pointers(tiff, order) {
        Ok(pointers) if pointers.is_empty() => return Scrub::Untouched,
        Ok(pointers) => pointers,
        Err(Unclear) => return Scrub::Drop,
    };
    let turned = orientation(tiff);
    let mut budget = tiff.len();
    // Later entries first, so that the index of an earlier one stays true.
    for pointer in pointers.iter().rev() {
        if remove_entry(tiff, order, pointer).is_err() {
            return Scrub::Drop;
        }
    }
    for pointer in &pointers {
        let blanked = match pointer.target {
            Target::Directory(at) => blank_directory(tiff, order, at, &mut budget),
            // Read in as many ways as there are readers: only what looks like a place is one.
            Target::Perhaps(at) if is_gps_directory(tiff, order, at) => blank_directory(tiff, order, at, &mut budget),
            Target::Perhaps(_) => Ok(()),
            Target::Value { at, length } => blank(tiff, at, length, &mut budget),
        };
        if blanked.is_err() {
            return Scrub::Drop;
        }
    }
    // Where a hostile GPS directory overlapped the rest, the rest is broken now.
    if find_gps_pointers(tiff, order).is_ok_and(|left| left.is_empty()) && orientation(tiff) == turned {
        Scrub::Changed
    } else {
        Scrub::Drop
    }
}

/// The orientation (1 to 8) in IFD0 of a TIFF block.
pub(super) fn orientation(tiff: &[u8]) -> Option<u8> {
    let order = Order::of(tiff)?;
    let at = order.u32(tiff, 4)? as usize;
    let count = usize::from(order.u16(tiff, at)?);
    // As browsers do, up to the end of the block, should the directory reach beyond it.
    let mut entries = (0..count)
        .map(|index| at + 2 + 12 * index)
        .take_while(|entry| entry + 12 <= tiff.len());
    let entry = entries.find(|entry| order.u16(tiff, *entry) == Some(ORIENTATION))?;
    match (
        order.u16(tiff, entry + 2)?,
        order.u32(tiff, entry + 4)?,
        order.u16(tiff, entry + 8)?,
    ) {
        (3, 1, value @ 1..=8) => Some(value as u8),
        _ => None,
    }
}

/// A TIFF block with nothing but an orientation.
pub(super) fn orientation_only(orientation: u8) -> [u8; 26] {
    let mut tiff = *b"MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\0\0\0\0\0\0\0";
    tiff[19] = orientation;
    tiff
}

/// Why reading went no further; the block is dropped.
struct Unclear;

#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn of(tiff: &[u8]) -> Option<Self> {
        match tiff.get(..4)? {
            b"II\x2A\0" => Some(Self::Little),
            b"MM\0\x2A" => Some(Self::Big),
            _ => None,
        }
    }

    fn u16(self, tiff: &[u8], at: usize) -> Option<u16> {
        let bytes: [u8; 2] = tiff.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        })
    }

    fn u32(self, tiff: &[u8], at: usize) -> Option<u32> {
        let bytes: [u8; 4] = tiff.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        })
    }

    fn u16_bytes(self, value: u16) -> [u8; 2] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }
}

/// A directory whose entries all lie inside the block.
struct Directory {
    at: usize,
    count: usize,
}

impl Directory {
    fn at(tiff: &[u8], order: Order, at: usize) -> Result<Self, Unclear> {
        let count = usize::from(order.u16(tiff, at).ok_or(Unclear)?);
        let directory = Self { at, count };
        if directory.next_pointer() > tiff.len() {
            Err(Unclear)
        } else {
            Ok(directory)
        }
    }

    /// Offsets of the 12-byte entries.
    fn entries(&self) -> impl Iterator<Item = usize> + use<> {
        let first = self.at + 2;
        (0..self.count).map(move |index| first + 12 * index)
    }

    /// Offset of the four bytes behind the entries which point to the next directory. Some writers leave them out.
    fn next_pointer(&self) -> usize {
        self.at + 2 + 12 * self.count
    }
}

/// An entry that leads to a place.
struct GpsPointer {
    directory: usize,
    entry: usize,
    target: Target,
}

#[derive(Clone, Copy)]
enum Target {
    Directory(usize),
    /// Where a reader might look for the directory if the pointer is of an odd type.
    Perhaps(usize),
    Value {
        at: usize,
        length: usize,
    },
}

/// Walks IFD0, the chain behind it and the Exif directories. IFD0 must be readable; others that are not, no reader can read either.
fn find_gps_pointers(tiff: &[u8], order: Order) -> Result<Vec<GpsPointer>, Unclear> {
    let mut queue = vec![order.u32(tiff, 4).ok_or(Unclear)? as usize];
    let mut pointers = Vec::new();
    let mut done = 0;
    while let Some(&at) = queue.get(done) {
        if done == MAX_DIRECTORIES {
            return Err(Unclear);
        }
        done += 1;
        let directory = match Directory::at(tiff, order, at) {
            Ok(directory) => directory,
            Err(Unclear) if done == 1 => return Err(Unclear),
            Err(Unclear) => continue,
        };
        count_work(12 * directory.count);
        let mut follow = |target: u32| {
            // A directory never starts inside the header; zero ends a chain.
            if target >= 8 && !queue.contains(&(target as usize)) && queue.len() <= MAX_DIRECTORIES {
                queue.push(target as usize);
            }
        };
        for entry in directory.entries() {
            let (Some(tag), Some(value)) = (order.u16(tiff, entry), order.u32(tiff, entry + 8)) else {
                return Err(Unclear);
            };
            match tag {
                EXIF_POINTER => follow(value),
                GPS_POINTER => {
                    let (kind, units) = (order.u16(tiff, entry + 2), order.u32(tiff, entry + 4));
                    let short = order.u16(tiff, entry + 8).map_or(0, usize::from);
                    let target = match (kind, units) {
                        (Some(4 | 13), Some(1)) => Target::Directory(value as usize),
                        (Some(3 | 8), Some(1)) => Target::Perhaps(short),
                        _ => Target::Perhaps(value as usize),
                    };
                    pointers.push(GpsPointer {
                        directory: directory.at,
                        entry,
                        target,
                    });
                }
                _ if BLOCKS.contains(&tag) => {
                    let (Some(kind), Some(units)) = (order.u16(tiff, entry + 2), order.u32(tiff, entry + 4)) else {
                        return Err(Unclear);
                    };
                    let length = (units as usize).saturating_mul(unit_bytes(kind));
                    pointers.push(GpsPointer {
                        directory: directory.at,
                        entry,
                        target: Target::Value {
                            at: value as usize,
                            length: if length > 4 { length } else { 0 },
                        },
                    });
                }
                _ => {}
            }
        }
        if pointers.len() > MAX_DIRECTORIES {
            return Err(Unclear);
        }
        if let Some(next) = order.u32(tiff, directory.next_pointer()) {
            follow(next);
        }
    }
    Ok(pointers)
}

/// Takes one entry out of its directory: what follows moves up, the count shrinks, the freed bytes become zeros.
fn remove_entry(tiff: &mut [u8], order: Order, pointer: &GpsPointer) -> Result<(), Unclear> {
    let directory = Directory::at(tiff, order, pointer.directory)?;
    let end = (directory.next_pointer() + 4).min(tiff.len());
    if directory.count == 0 || pointer.entry + 12 > end {
        return Err(Unclear);
    }
    count_work(end - pointer.entry);
    tiff.copy_within(pointer.entry + 12..end, pointer.entry);
    tiff[end - 12..end].fill(0);
    tiff[directory.at..directory.at + 2].copy_from_slice(&order.u16_bytes((directory.count - 1) as u16));
    Ok(())
}

/// Whether there is a directory whose tags are those of GPS.
fn is_gps_directory(tiff: &[u8], order: Order, at: usize) -> bool {
    at >= 8
        && Directory::at(tiff, order, at).is_ok_and(|directory| {
            directory.count <= MAX_GPS_ENTRIES
                && directory
                    .entries()
                    .all(|entry| order.u16(tiff, entry).is_some_and(|tag| tag < 0x20))
        })
}

/// Fills a directory and everything its entries point to with zeros, as far as it lies inside the block.
///
/// The values together may not be longer than the block: honest values do not overlap, and the bound keeps the work linear.
fn blank_directory(tiff: &mut [u8], order: Order, at: usize, budget: &mut usize) -> Result<(), Unclear> {
    let Some(count) = order.u16(tiff, at).map(usize::from) else {
        return Ok(());
    };
    if count > MAX_GPS_ENTRIES {
        return Err(Unclear);
    }
    // An empty directory ends with its count: what follows may be something else.
    let end = if count == 0 { at + 2 } else { at + 2 + 12 * count + 4 }.min(tiff.len());
    for entry in (0..count).map(|index| at + 2 + 12 * index) {
        let (Some(kind), Some(units), Some(offset)) = (order.u16(tiff, entry + 2), order.u32(tiff, entry + 4), order.u32(tiff, entry + 8))
        else {
            break;
        };
        let length = (units as usize).saturating_mul(unit_bytes(kind));
        if length > 4 {
            blank(tiff, offset as usize, length, budget)?;
        }
    }
    tiff[at..end].fill(0);
    Ok(())
}

fn blank(tiff: &mut [u8], at: usize, length: usize, budget: &mut usize) -> Result<(), Unclear> {
    *budget = budget.checked_sub(length).ok_or(Unclear)?;
    let from = at.min(tiff.len());
    let to = from.saturating_add(length).min(tiff.len());
    count_work(to - from);
    tiff[from..to].fill(0);
    Ok(())
}

/// Bytes of one unit of a TIFF value; an unknown kind counts as the widest.
fn unit_bytes(kind: u16) -> usize {
    match kind {
        1 | 2 | 6 | 7 => 1,
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::samples::{ExifSample, PLACE};
    use super::*;
    use proptest::prelude::*;

    fn contains(haystack: &[u8], needle: &[u8]) -> bool {
        haystack.windows(needle.len()).any(|window| window == needle)
    }

    #[test]
    fn gps_goes_and_the_rest_stays_in_both_byte_orders() {
        for big in [true, false] {
            let sample = ExifSample {
                big,
                gps: true,
                orientation: 6,
            }
            .tiff();
            let mut tiff = sample.clone();
            assert!(contains(&tiff, PLACE));
            assert_eq!(scrub_gps(&mut tiff), Scrub::Changed);
            assert_eq!(tiff.len(), sample.len());
            assert!(!contains(&tiff, PLACE));
            assert!(contains(&tiff, b"Canon"), "the maker stays");
            assert_eq!(orientation(&tiff), Some(6));
            assert_eq!(scrub_gps(&mut tiff), Scrub::Untouched, "no pointer is left");
        }
    }

    #[test]
    fn exif_without_gps_stays_as_it_is() {
        let sample = ExifSample {
            big: false,
            gps: false,
            orientation: 1,
        }
        .tiff();
        let mut tiff = sample.clone();
        assert_eq!(scrub_gps(&mut tiff), Scrub::Untouched);
        assert_eq!(tiff, sample);
    }

    #[test]
    fn what_cannot_be_read_is_dropped() {
        let whole = ExifSample {
            big: true,
            gps: true,
            orientation: 1,
        }
        .tiff();
        let mut bad_magic = whole.clone();
        bad_magic[3] = 0;
        let mut wild_ifd0 = whole.clone();
        wild_ifd0[4..8].fill(0xFF);
        for mut tiff in [Vec::new(), b"MM\0\x2A".to_vec(), bad_magic, wild_ifd0] {
            assert_eq!(scrub_gps(&mut tiff), Scrub::Drop);
        }
    }

    /// Offset of the GPS pointer's entry in the big-endian sample.
    fn gps_entry(tiff: &[u8]) -> usize {
        tiff.windows(4).position(|window| window == [0x88, 0x25, 0, 4]).unwrap()
    }

    #[test]
    fn malicious_offsets_and_sizes_are_dropped_or_harmless() {
        let whole = ExifSample {
            big: true,
            gps: true,
            orientation: 1,
        }
        .tiff();
        let entry = gps_entry(&whole);
        let mut outside = whole.clone();
        outside[entry + 8..entry + 12].copy_from_slice(&[0xFF, 0xFF, 0xFF, 0xF0]);
        assert_eq!(scrub_gps(&mut outside), Scrub::Changed, "a place nobody can reach");
        let mut itself = whole.clone();
        itself[entry + 8..entry + 12].copy_from_slice(&[0, 0, 0, 8]);
        assert_eq!(scrub_gps(&mut itself), Scrub::Drop, "IFD0 as the GPS directory");
        let mut huge = whole.clone();
        let gps = u32::from_be_bytes(whole[entry + 8..entry + 12].try_into().unwrap()) as usize;
        huge[gps + 2 + 4..gps + 2 + 8].fill(0xFF);
        assert_eq!(scrub_gps(&mut huge), Scrub::Drop);
        let mut many = whole;
        many[gps..gps + 2].copy_from_slice(&[0xFF, 0xFF]);
        assert_eq!(scrub_gps(&mut many), Scrub::Drop);
    }

    #[test]
    fn an_odd_pointer_does_not_cost_the_orientation() {
        let whole = ExifSample {
            big: true,
            gps: true,
            orientation: 6,
        }
        .tiff();
        let entry = gps_entry(&whole);
        // SHORT, ASCII, LONG twice, and an empty directory.
        let odd = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut tiff = whole.clone();
            change(&mut tiff);
            assert_eq!(scrub_gps(&mut tiff), Scrub::Changed);
            assert_eq!(orientation(&tiff), Some(6));
            assert!(contains(&tiff, b"Canon"));
            assert!(!contains(&tiff, &[0x88, 0x25]));
            contains(&tiff, PLACE)
        };
        let mut short = 0_u32.to_be_bytes();
        short[..2].copy_from_slice(&whole[entry + 10..entry + 12]);
        assert!(!odd(&|tiff| {
            tiff[entry + 3] = 3;
            tiff[entry + 8..entry + 12].copy_from_slice(&short);
        }));
        assert!(!odd(&|tiff| tiff[entry + 3] = 2));
        assert!(!odd(&|tiff| tiff[entry + 7] = 2));
        let gps = u32::from_be_bytes(whole[entry + 8..entry + 12].try_into().unwrap()) as usize;
        // The values of a directory without entries are nobody's.
        odd(&|tiff| tiff[gps..gps + 2].fill(0));
    }

    #[test]
    fn other_blocks_in_entries_go_too() {
        let mut tiff = ExifSample {
            big: true,
            gps: true,
            orientation: 6,
        }
        .tiff();
        let entry = gps_entry(&tiff);
        tiff[entry..entry + 2].copy_from_slice(&[0x83, 0xBB]);
        tiff[entry + 3] = 7;
        tiff[entry + 4..entry + 8].copy_from_slice(&(PLACE.len() as u32).to_be_bytes());
        tiff[entry + 8..entry + 12].copy_from_slice(&224_u32.to_be_bytes());
        assert_eq!(scrub_gps(&mut tiff), Scrub::Changed);
        assert!(!contains(&tiff, PLACE));
        assert_eq!(orientation(&tiff), Some(6));
    }

    #[test]
    fn orientation_only_is_a_readable_block() {
        for value in 1..=8 {
            assert_eq!(orientation(&orientation_only(value)), Some(value));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived_and_work_stays_linear(
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..24), big: bool,
        ) {
            let mut tiff = ExifSample { big, gps: true, orientation: 3 }.tiff();
            for (at, byte) in flips {
                let at = at.index(tiff.len());
                tiff[at] = byte;
            }
            let before = super::super::WORK.with(std::cell::Cell::get);
            scrub_gps(&mut tiff);
            orientation(&tiff);
            let work = super::super::WORK.with(std::cell::Cell::get) - before;
            prop_assert!(work <= 64 * tiff.len() as u64);
        }
    }
}
