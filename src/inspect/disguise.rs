//! Is a file at the same time another kind of file? Two cheap watches over the kept bytes, asked at the end, so that a
//! fault in the file's own structure comes first whatever the split.
//!
//! Most polyglots die earlier: signatures count at offset 0 only, and bytes behind the end are dropped. These two remain:
//! PDF readers accept `%PDF-` anywhere in the first 1,024 bytes, and ZIP readers search for their directory from the end.

use memchr::memmem;

use super::count_work;

/// Finds a PDF head in the first 1,024 kept bytes of a file that is no PDF. Received bytes would be the wrong place to look: what is
/// stripped before a head moves it into reach.
#[derive(Default)]
pub(super) struct PdfHeadWatch {
    seen: usize,
    matched: usize,
}

impl PdfHeadWatch {
    const REACH: usize = 1024;
    const HEAD: &[u8] = b"%PDF-";

    pub(super) fn look(&mut self, kept: &[u8]) {
        let reach = kept.len().min(Self::REACH - self.seen);
        self.seen += reach;
        count_work(reach);
        for byte in &kept[..reach] {
            self.matched = match *byte {
                _ if self.has_head() => return,
                byte if byte == Self::HEAD[self.matched] => self.matched + 1,
                b'%' => 1,
                _ => 0,
            };
        }
    }

    pub(super) fn has_head(&self) -> bool {
        self.matched == Self::HEAD.len()
    }
}

/// Finds a ZIP directory in what is kept: an entry anywhere and, within the reach of a reader that searches from the end, its end record.
///
/// Both signatures in unrelated data of 20 MiB: less than one file in a million.
#[derive(Default)]
pub(super) struct ArchiveWatch {
    seen: u64,
    /// The last bytes seen, for signatures that stand over the border of two pushes.
    tail: [u8; 3],
    has_entry: bool,
    last_end: Option<u64>,
}

impl ArchiveWatch {
    /// End record (22 bytes) and the longest comment behind it.
    const REACH: u64 = 22 + 65_535;

    pub(super) fn look(&mut self, kept: &[u8]) {
        count_work(kept.len());
        let near = kept.len().min(3);
        let mut border = [0; 6];
        border[..3].copy_from_slice(&self.tail);
        border[3..3 + near].copy_from_slice(&kept[..near]);
        for at in memmem::find_iter(&border[..3 + near], b"PK") {
            // In the tail are only bytes that were seen, so this cannot fall below zero.
            self.signature(&border[at..3 + near], self.seen + at as u64 - 3);
        }
        for at in memmem::find_iter(kept, b"PK") {
            self.signature(&kept[at..], self.seen + at as u64);
        }
        self.seen += kept.len() as u64;
        let last = if near == 3 {
            &kept[kept.len() - 3..]
        } else {
            &border[near..near + 3]
        };
        self.tail.copy_from_slice(last);
    }

    fn signature(&mut self, bytes: &[u8], at: u64) {
        match bytes.get(2..4) {
            Some([1, 2]) => self.has_entry = true,
            Some([5, 6]) if self.has_entry => self.last_end = Some(at),
            _ => {}
        }
    }

    pub(super) fn is_archive(&self) -> bool {
        self.last_end.is_some_and(|at| self.seen - at <= Self::REACH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pdf_head_is_found_over_borders_and_within_reach_only() {
        let watched = |parts: &[&[u8]]| {
            let mut watch = PdfHeadWatch::default();
            parts.iter().for_each(|part| watch.look(part));
            watch.has_head()
        };
        assert!(watched(&[b"GIF%%P", b"DF-1.4", b"more"]));
        assert!(watched(&[&[b'x'; 1019], b"%PDF-"]));
        assert!(!watched(&[&[b'x'; 1020], b"%PDF-"]));
        assert!(!watched(&[b"%PDF", b" %PDF"]));
    }

    #[test]
    fn archive_needs_an_entry_and_an_end_in_reach() {
        let watched = |parts: &[&[u8]]| {
            let mut watch = ArchiveWatch::default();
            parts.iter().for_each(|part| watch.look(part));
            watch.is_archive()
        };
        assert!(watched(&[b"..PK\x01", b"\x02..PK\x05\x06.."]));
        assert!(watched(&[b"P", b"K", b"\x01", b"\x02P", b"K\x05", b"\x06"]));
        assert!(watched(&[b"PPK\x01\x02PKPK\x05\x06"]));
        assert!(!watched(&[b"PK\x05\x06PK\x01\x02"]), "an end before its entry");
        assert!(!watched(&[b"PK\x01\x02P", b"", b"\x05\x06"]));
        assert!(!watched(&[b"PK\x05\x06"]));
        assert!(!watched(&[b"PK\x01\x02PK\x05\x06", &[0; 70_000]]));
    }
}
