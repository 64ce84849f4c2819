//! Why a file does not pass. The codes are stable: pages translate them, the API returns them. Nothing here carries content.

use super::FileType;
use std::fmt;

/// The one reason a file was refused for: the first in the order of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not one byte.
    Empty,
    /// Fewer bytes than the portal or the provider wants.
    TooSmall { min: u64 },
    /// More bytes than the portal or the provider takes.
    TooBig { max: u64 },
    /// None of the types we know.
    UnknownType,
    /// A type we know, but not one asked for here.
    NotAccepted { found: FileType },
    /// A picture in a format that no provider takes, named here.
    OtherFormat { found: &'static str },
    /// It ends too early: most likely a broken upload or copy.
    Truncated,
    /// Its structure is broken, or of a kind ordinary readers do not open. The word says where.
    Damaged(&'static str),
    /// A PDF that opens only with a password or certificate.
    PasswordProtected,
    /// A PDF that is encrypted although it opens for everybody, where the policy does not take such.
    Encrypted,
    /// A PDF that can act. The word is the PDF name which gave it away.
    ActiveContent(&'static str),
    /// A PDF that carries other files. The word is the PDF name which gave it away.
    Attachment(&'static str),
    /// It would also pass for another kind of file, named here.
    Disguised(&'static str),
    /// Larger than a decoder behind us should be asked to open.
    TooManyPixels { width: u32, height: u32 },
    /// Too small to read anything on it.
    TooFewPixels { width: u32, height: u32, min_side: u32 },
    /// More pages than allowed; `max` is the limit.
    TooManyPages { max: u32 },
    /// A moving picture.
    Animated,
    /// Nothing that can become a page of a PDF as it is: neither JPEG nor PNG, or a PNG that is transparent or interlaced.
    NotAPage,
}

impl Refusal {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Empty => "file.empty",
            Self::TooSmall { .. } => "file.too_small",
            Self::TooBig { .. } => "file.too_big",
            Self::UnknownType => "file.unknown_type",
            Self::NotAccepted { .. } => "file.not_accepted",
            Self::OtherFormat { .. } => "file.other_format",
            Self::Truncated => "file.truncated",
            Self::Damaged(_) => "file.damaged",
            Self::PasswordProtected => "file.password_protected",
            Self::Encrypted => "file.encrypted",
            Self::ActiveContent(_) => "file.active_content",
            Self::Attachment(_) => "file.attachment",
            Self::Disguised(_) => "file.disguised",
            Self::TooManyPixels { .. } => "file.too_many_pixels",
            Self::TooFewPixels { .. } => "file.too_few_pixels",
            Self::TooManyPages { .. } => "file.too_many_pages",
            Self::Animated => "file.animated",
            Self::NotAPage => "file.not_a_page",
        }
    }
}

/// For logs: the code and its figures.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())?;
        match self {
            Self::TooSmall { min } => write!(f, " (min {min} bytes)"),
            Self::TooBig { max } => write!(f, " (max {max} bytes)"),
            Self::NotAccepted { found } => write!(f, " ({found})"),
            Self::OtherFormat { found } => write!(f, " ({found})"),
            Self::Damaged(word) | Self::ActiveContent(word) | Self::Attachment(word) | Self::Disguised(word) => {
                write!(f, " ({word})")
            }
            Self::TooManyPixels { width, height } => write!(f, " ({width} x {height})"),
            Self::TooFewPixels { width, height, min_side } => write!(f, " ({width} x {height}, min side {min_side})"),
            Self::TooManyPages { max } => write!(f, " (max {max})"),
            Self::Empty
            | Self::UnknownType
            | Self::Truncated
            | Self::PasswordProtected
            | Self::Encrypted
            | Self::Animated
            | Self::NotAPage => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}
