//! Which of the four known types do the first bytes speak of? By content only: names and extensions are not even a parameter here.

/// How many bytes [`sniff`] wants to see, unless the file ends before.
pub(crate) const SNIFF_BYTES: usize = 32;

pub use crate::domain::document::FileType;

/// A set of types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileTypes(u8);

impl FileTypes {
    pub const fn of(types: &[FileType]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < types.len() {
            bits |= 1 << types[at] as u8;
            at += 1;
        }
        Self(bits)
    }

    pub const fn contains(self, file_type: FileType) -> bool {
        self.0 & (1 << file_type as u8) != 0
    }

    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// In the order of [`FileType::ALL`]; joined by commas their media types are the `accept` of a file input.
    pub fn iter(self) -> impl Iterator<Item = FileType> {
        FileType::ALL.into_iter().filter(move |file_type| self.contains(*file_type))
    }
}

/// The type that `head`, the first [`SNIFF_BYTES`] bytes of a file or all of a shorter one, speaks of.
///
/// A signature must stand at offset 0: readers that search for one further in are how a file gets to be two kinds at once. The exception
/// is [`find_pdf`].
pub(crate) fn sniff(head: &[u8]) -> Option<FileType> {
    if head.starts_with(&[0xFF, 0xD8, 0xFF]) {
        Some(FileType::Jpeg)
    } else if head.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some(FileType::Png)
    } else if is_pdf(head) {
        Some(FileType::Pdf)
    } else if is_heic(head) {
        Some(FileType::Heic)
    } else {
        None
    }
}

/// A picture format that phones and browsers write and that no provider takes: people have to be told its name, since the file's own often
/// says something else.
pub(super) fn other_format(head: &[u8]) -> Option<&'static str> {
    let is_avif = |brand: Option<&[u8]>| matches!(brand, Some(b"avif" | b"avis"));
    if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
        Some("WebP")
    } else if head.get(4..8) == Some(b"ftyp")
        && (is_avif(head.get(8..12)) || head.get(16..).is_some_and(|more| more.chunks(4).any(|b| is_avif(Some(b)))))
    {
        Some("AVIF")
    } else {
        None
    }
}

fn is_pdf(head: &[u8]) -> bool {
    (head.starts_with(b"%PDF-1.") || head.starts_with(b"%PDF-2.")) && head.get(7).is_some_and(u8::is_ascii_digit)
}

/// How many bytes [`find_pdf`] wants to see: the head begins within the first 1,024.
pub(super) const PDF_HEAD_BYTES: usize = 1024 + 8;

/// Where a PDF begins behind a byte order mark, blanks, or the head of a mail or printer job.
pub(super) fn find_pdf(head: &[u8]) -> Option<usize> {
    let at = memchr::memmem::find_iter(head, b"%PDF-").find(|at| *at < 1024 && is_pdf(&head[*at..]))?;
    may_precede_pdf(&head[..at]).then_some(at)
}

/// Whether these bytes, perhaps cut off, may stand before a PDF. They are cut, so that no second format gets through; but what is a format
/// of its own, such as a page of HTML, is not a PDF that somebody exported.
pub(super) fn may_precede_pdf(bytes: &[u8]) -> bool {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // A letter that is cut in two.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
        // What is seen at first may reach into the document already.
        Err(error) => match memchr::memmem::find(&bytes[..error.valid_up_to()], b"%PDF-") {
            Some(at) => std::str::from_utf8(&bytes[..at]).unwrap_or("<"),
            None => return false,
        },
    };
    let blank = |c: char| c.is_whitespace() || matches!(c, '\0' | '\u{feff}');
    let is_markup = text.trim_start_matches(blank).starts_with('<');
    // Printers are spoken to in escape sequences.
    !is_markup && !text.starts_with("GIF8") && text.chars().all(|c| !c.is_control() || blank(c) || c == '\u{1b}')
}

/// `ftyp` first; a HEVC brand as the major brand, or behind the codec-neutral `mif1`/`msf1` among the brands in sight (ISO 23008-12).
fn is_heic(head: &[u8]) -> bool {
    let is_hevc = |brand: &[u8]| matches!(brand, b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"hevm" | b"hevs");
    let Some((size, rest)) = head.split_first_chunk::<4>() else {
        return false;
    };
    let end = (u32::from_be_bytes(*size) as usize).min(head.len());
    if end < 16 || !rest.starts_with(b"ftyp") {
        return false;
    }
    let major = &head[8..12];
    let among = head[16..end].chunks_exact(4).any(is_hevc);
    is_hevc(major) || (matches!(major, b"mif1" | b"msf1") && among)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_know_their_aliases() {
        assert_eq!(FileType::from_mime("IMAGE/JPG; q=1"), Some(FileType::Jpeg));
        assert!(FileType::ALL.iter().all(|t| FileType::from_mime(t.mime()) == Some(*t)));
    }

    #[test]
    fn signatures_count_at_offset_zero_only() {
        assert_eq!(sniff(b"\xFF\xD8\xFF\xE0"), Some(FileType::Jpeg));
        assert_eq!(sniff(b"\xFF\xD8"), None);
        assert_eq!(sniff(b"%PDF-1.7\n"), Some(FileType::Pdf));
        assert_eq!(sniff(b" %PDF-1.7\n"), None);
        assert_eq!(sniff(b"%PDF-3.0\n"), None);
        assert_eq!(sniff(b"%PDF-1."), None);
        assert_eq!(sniff(b""), None);
    }

    #[test]
    fn heic_is_told_from_its_cousins_by_brand() {
        assert_eq!(sniff(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"), Some(FileType::Heic));
        assert_eq!(sniff(b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic"), Some(FileType::Heic));
        assert_eq!(sniff(b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif"), None);
        assert_eq!(sniff(b"\0\0\0\x14ftypmif1\0\0\0\0mif1heic"), None, "a brand behind the box is none");
        assert_eq!(sniff(b"\0\0\0\x18ftypisom\0\0\0\0isommp42"), None);
        assert_eq!(sniff(b"\0\0\0\x08ftypheic"), None);
    }

    #[test]
    fn formats_that_nobody_takes_have_a_name() {
        assert_eq!(other_format(b"RIFF\x10\0\0\0WEBPVP8 "), Some("WebP"));
        assert_eq!(other_format(b"RIFF\x10\0\0\0WAVEfmt "), None);
        assert_eq!(other_format(b"\0\0\0\x1cftypavif\0\0\0\0mif1avif"), Some("AVIF"));
        assert_eq!(other_format(b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif"), Some("AVIF"));
        assert_eq!(other_format(b"\0\0\0\x18ftypisom\0\0\0\0isommp42"), None);
    }

    #[test]
    fn what_may_stand_before_a_pdf_is_text_and_no_page() {
        for (before, fits) in [
            ("", true),
            ("\u{feff}", true),
            ("\0\r\n \t", true),
            ("Content-Type: application/pdf\r\n\r\n", true),
            ("\u{1b}%-12345X@PJL SET NAME=\"Größe\"\n", true),
            ("\r\n<html>", false),
            ("GIF89a", false),
            ("PK\u{3}\u{4}", false),
        ] {
            let head = [before.as_bytes(), b"%PDF-1.4\n%\xE2\xE3\n"].concat();
            assert_eq!(find_pdf(&head), fits.then_some(before.len()), "{before}");
        }
        assert_eq!(find_pdf(&[&[b' '; 1024][..], b"%PDF-1.4"].concat()), None);
        assert_eq!(find_pdf(b"x%PDF-3.0 %PDF-1.4"), Some(10));
    }

    #[test]
    fn sets_of_types_behave_like_sets() {
        let set = FileTypes::of(&[FileType::Pdf, FileType::Jpeg]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [FileType::Jpeg, FileType::Pdf]);
        assert!(set.and(FileTypes::of(&[FileType::Png])).is_empty());
    }
}
