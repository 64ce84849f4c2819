//! What may a file measure? The portal's limits, a provider's limits, and both at once.

use super::{FileType, FileTypes, Refusal};

/// Bank statements of a year have more than 50 pages.
pub(crate) const MAX_PAGES: u32 = 200;

/// Bounds on one file. Pixels count as stored, before the orientation is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Accepted types. HEIC is off by default: phones give JPEG when it is not asked for.
    pub accepted: FileTypes,
    /// Fewest bytes kept (default 1).
    pub min_bytes: u64,
    /// Fewest bytes kept of a picture, where that is more (default 0).
    pub min_picture_bytes: u64,
    /// Most bytes received, metadata and trailing bytes included (default 20 MiB).
    pub max_bytes: u64,
    /// Fewest pixels on the shorter side (default 1).
    pub min_side: u32,
    /// Most pixels on the longer side (default 12,000).
    pub max_side: u32,
    /// Most pixels in all (default 60 million: a decoder behind us needs four bytes for each).
    pub max_pixels: u64,
    /// Most pages of a PDF, as far as they can be counted (default 200).
    pub max_pages: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            accepted: FileTypes::of(&[FileType::Jpeg, FileType::Png, FileType::Pdf]),
            min_bytes: 1,
            min_picture_bytes: 0,
            max_bytes: 20 << 20,
            min_side: 1,
            max_side: 12_000,
            max_pixels: 60_000_000,
            max_pages: MAX_PAGES,
        }
    }
}

/// No file could satisfy these limits: a provider and the portal are configured against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NothingFits(pub &'static str);

impl std::fmt::Display for NothingFits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no file can satisfy both limits: {}", self.0)
    }
}

impl std::error::Error for NothingFits {}

impl Limits {
    /// Bounds nothing and accepts everything: the starting point for a provider which documents only some of its limits.
    pub const UNBOUNDED: Self = Self {
        accepted: FileTypes::of(&FileType::ALL),
        min_bytes: 0,
        min_picture_bytes: 0,
        max_bytes: u64::MAX,
        min_side: 0,
        max_side: u32::MAX,
        max_pixels: u64::MAX,
        max_pages: u32::MAX,
    };

    /// The limits that satisfy both: smaller maxima, larger minima, common types.
    ///
    /// # Errors
    /// [`NothingFits`], so that the conflict shows when a link is made and not when the applicant has uploaded.
    pub fn merged(self, other: Self) -> Result<Self, NothingFits> {
        let both = Self {
            accepted: self.accepted.and(other.accepted),
            min_bytes: self.min_bytes.max(other.min_bytes),
            min_picture_bytes: self.min_picture_bytes.max(other.min_picture_bytes),
            max_bytes: self.max_bytes.min(other.max_bytes),
            min_side: self.min_side.max(other.min_side),
            max_side: self.max_side.min(other.max_side),
            max_pixels: self.max_pixels.min(other.max_pixels),
            max_pages: self.max_pages.min(other.max_pages),
        };
        if both.accepted.is_empty() {
            Err(NothingFits("accepted types"))
        } else if both.min_bytes > both.max_bytes || both.max_bytes == 0 {
            Err(NothingFits("bytes"))
        } else if both.min_side > both.max_side || u64::from(both.min_side).pow(2) > both.max_pixels {
            Err(NothingFits("pixels"))
        } else {
            Ok(both)
        }
    }

    /// The fewest bytes of a file of this type.
    pub(super) fn least(&self, file_type: FileType) -> u64 {
        match file_type {
            FileType::Pdf => self.min_bytes,
            FileType::Jpeg | FileType::Png | FileType::Heic => self.min_bytes.max(self.min_picture_bytes),
        }
    }

    pub(super) fn check_pixels(&self, width: u32, height: u32) -> Result<(), Refusal> {
        let pixels = u64::from(width) * u64::from(height);
        if width.max(height) > self.max_side || pixels > self.max_pixels {
            Err(Refusal::TooManyPixels { width, height })
        } else if width.min(height) < self.min_side {
            Err(Refusal::TooFewPixels {
                width,
                height,
                min_side: self.min_side,
            })
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn merged_takes_the_stricter_of_both() {
        let portal = Limits::default();
        let provider = Limits {
            accepted: FileTypes::of(&[FileType::Jpeg, FileType::Heic]),
            min_bytes: 32 << 10,
            max_bytes: 4 << 20,
            min_side: 300,
            max_side: 8_000,
            ..Limits::UNBOUNDED
        };
        let both = portal.merged(provider).unwrap();
        assert_eq!(both, provider.merged(portal).unwrap(), "the order does not matter");
        assert_eq!(both.accepted.iter().collect::<Vec<_>>(), [FileType::Jpeg]);
        assert_eq!((both.min_bytes, both.max_bytes), (32 << 10, 4 << 20));
        assert_eq!(
            (both.min_side, both.max_side, both.max_pixels, both.max_pages),
            (300, 8_000, 60_000_000, 200)
        );
        assert_eq!(portal.merged(Limits::UNBOUNDED), Ok(portal));
    }

    #[test]
    fn limits_against_each_other_are_told_early() {
        let only = |types| Limits {
            accepted: FileTypes::of(types),
            ..Limits::UNBOUNDED
        };
        assert_eq!(
            only(&[FileType::Pdf]).merged(only(&[FileType::Png])),
            Err(NothingFits("accepted types"))
        );
        let big = Limits {
            min_bytes: 21 << 20,
            ..Limits::UNBOUNDED
        };
        assert_eq!(Limits::default().merged(big), Err(NothingFits("bytes")));
        let wide = Limits {
            min_side: 10_000,
            ..Limits::UNBOUNDED
        };
        assert_eq!(Limits::default().merged(wide), Err(NothingFits("pixels")));
    }

    #[test]
    fn pixels_are_bounded_on_both_sides() {
        let limits = Limits {
            min_side: 300,
            ..Limits::default()
        };
        assert!(limits.check_pixels(12_000, 5_000).is_ok());
        assert_eq!(
            limits.check_pixels(12_001, 400),
            Err(Refusal::TooManyPixels {
                width: 12_001,
                height: 400
            })
        );
        assert_eq!(
            limits.check_pixels(8_000, 7_501),
            Err(Refusal::TooManyPixels {
                width: 8_000,
                height: 7_501
            })
        );
        assert_eq!(
            limits.check_pixels(299, 400),
            Err(Refusal::TooFewPixels {
                width: 299,
                height: 400,
                min_side: 300
            })
        );
    }
}
