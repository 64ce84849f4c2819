//! A backup's container: frames in one stream, encrypted to a passphrase or to recipients as an age file (age-encryption.org, v1), so that it can be opened without this
//! program too.
//!
//! ```text
//! inside:  "nightdrop backup v1\n", then frames: kind 1 ‖ length 4 ‖ body
//! last:    frame 'E' with SHA-256("nightdrop/v1/backup" ‖ 00 ‖ every byte before this frame)
//! ```
//! A file that was cut off, or to which something was added, is refused before its end is believed: age authenticates every 64 KiB and which one is the last, and the last
//! frame says that its writer had come to the end. What a frame holds, this file does not know.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::str::FromStr;

use age::secrecy::SecretString;
use age::{Decryptor, Encryptor, Identity, Recipient, scrypt, x25519};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const MAGIC: &[u8; 20] = b"nightdrop backup v1\n";
const DOMAIN: &[u8] = b"nightdrop/v1/backup\0";
const END: u8 = b'E';
/// Longest body of a frame.
pub(crate) const FRAME_MAX: usize = 8 << 20;
/// scrypt with N = 2^17 takes 128 MiB and about half a second.
const WORK: u8 = 17;
/// What a reader accepts: 4 GiB.
const WORK_MAX: u8 = 22;

/// Why a container was not written or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error("it is not an age file, so no backup")]
    NotAge,
    #[error("it is encrypted to {0}")]
    OtherProtection(&'static str),
    #[error("it does not open with this passphrase or identity")]
    DoesNotOpen,
    #[error("it wants more work for its passphrase than is accepted")]
    TooMuchWork,
    #[error("it is encrypted, but holds no backup of a known version")]
    UnknownVersion,
    #[error("it is damaged or not complete: {0}")]
    Damaged(&'static str),
    #[error("it cannot be read or written")]
    Io(#[from] io::Error),
}

/// Whom a backup is for.
pub(crate) enum Lock {
    Passphrase(Zeroizing<String>),
    Recipients(Vec<x25519::Recipient>),
}

impl Lock {
    /// Recipients as text, `age1…`; the first that is none is named.
    pub(crate) fn to<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self, &'t str> {
        let parse = |text: &'t str| x25519::Recipient::from_str(text).map_err(|_| text);
        texts.into_iter().map(parse).collect::<Result<_, _>>().map(Self::Recipients)
    }

    /// A word for the audit log.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Passphrase(_) => "passphrase",
            Self::Recipients(_) => "recipient",
        }
    }

    fn encryptor(&self) -> Encryptor {
        let made = match self {
            Self::Passphrase(passphrase) => {
                let mut recipient = scrypt::Recipient::new(SecretString::from(passphrase.as_str()));
                recipient.set_work_factor(WORK);
                Encryptor::with_recipients(std::iter::once(&recipient as &dyn Recipient))
            }
            Self::Recipients(all) => Encryptor::with_recipients(all.iter().map(|one| one as &dyn Recipient)),
        };
        made.expect("there is a recipient, and all are of one kind")
    }
}

/// What opens a backup.
pub(crate) enum Opener {
    Passphrase(Zeroizing<String>),
    Identities(Vec<x25519::Identity>),
}

impl Opener {
    /// An identity file as `age-keygen` writes it: `AGE-SECRET-KEY-1…` in lines of their own. `None` when there is none in it.
    pub(crate) fn identities(text: &str) -> Option<Self> {
        let lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let all: Option<Vec<_>> = lines.map(|line| x25519::Identity::from_str(line).ok()).collect();
        all.filter(|all| !all.is_empty()).map(Self::Identities)
    }
}

/// Writes frames. Without [`FrameWriter::finish`] what was written is no backup.
pub(crate) struct FrameWriter<W: Write> {
    out: age::stream::StreamWriter<W>,
    hash: Sha256,
}

impl<W: Write> FrameWriter<W> {
    /// Takes as long as the passphrase's work.
    pub(crate) fn begin(lock: &Lock, out: W) -> io::Result<Self> {
        let mut this = Self {
            out: lock.encryptor().wrap_output(out)?,
            hash: Sha256::new_with_prefix(DOMAIN),
        };
        this.put(MAGIC)?;
        Ok(this)
    }

    /// `kind` is not `E`.
    pub(crate) fn frame(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= FRAME_MAX);
        let length = length.ok_or_else(|| io::Error::other("a part of the backup is longer than a frame may be"))?;
        self.put(&[kind])?;
        self.put(&length.to_be_bytes())?;
        self.put(body)
    }

    pub(crate) fn finish(mut self) -> io::Result<W> {
        let hash: [u8; 32] = self.hash.clone().finalize().into();
        self.frame(END, &hash)?;
        self.out.finish()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes)
    }
}

/// Kind and body.
pub(crate) type Frame = (u8, Zeroizing<Vec<u8>>);

/// Reads frames; nothing of a file is believed before [`FrameReader::next_frame`] has answered that it has come to the end.
pub(crate) struct FrameReader {
    stream: Box<dyn Read>,
    hash: Sha256,
    ended: bool,
}

impl FrameReader {
    pub(crate) fn open(opener: &Opener, input: impl Read + 'static) -> Result<Self, ArchiveError> {
        let mut input = BufReader::with_capacity(1 << 17, input);
        if !input.fill_buf()?.starts_with(b"age-encryption.org/") {
            return Err(ArchiveError::NotAge);
        }
        let decryptor = Decryptor::new_buffered(input).map_err(of_age)?;
        let stream = match opener {
            Opener::Passphrase(_) if !decryptor.is_scrypt() => {
                return Err(ArchiveError::OtherProtection("a recipient: give its identity with --identity"));
            }
            Opener::Identities(_) if decryptor.is_scrypt() => {
                return Err(ArchiveError::OtherProtection("a passphrase, not to a recipient"));
            }
            Opener::Passphrase(passphrase) => {
                let mut identity = scrypt::Identity::new(SecretString::from(passphrase.as_str()));
                identity.set_max_work_factor(WORK_MAX);
                decryptor.decrypt(std::iter::once(&identity as &dyn Identity))
            }
            Opener::Identities(all) => decryptor.decrypt(all.iter().map(|one| one as &dyn Identity)),
        };
        let mut this = Self {
            stream: Box::new(stream.map_err(of_age)?),
            hash: Sha256::new_with_prefix(DOMAIN),
            ended: false,
        };
        let mut magic = [0; MAGIC.len()];
        this.take(&mut magic)?;
        if &magic == MAGIC {
            Ok(this)
        } else {
            Err(ArchiveError::UnknownVersion)
        }
    }

    /// The next frame's kind and body; `None` at the end, which is as it was written.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, ArchiveError> {
        if self.ended {
            return Ok(None);
        }
        let before: [u8; 32] = self.hash.clone().finalize().into();
        let mut head = [0; 5];
        self.take(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if length > FRAME_MAX {
            return Err(ArchiveError::Damaged("a frame is longer than it can be"));
        }
        let mut body = Zeroizing::new(vec![0; length]);
        self.take(&mut body)?;
        if head[0] != END {
            return Ok(Some((head[0], body)));
        }
        if body.as_slice() != before {
            return Err(ArchiveError::Damaged("its end does not fit what is before it"));
        }
        let mut more = [0; 1];
        if self.stream.read(&mut more).map_err(of_stream)? != 0 {
            return Err(ArchiveError::Damaged("something stands behind its end"));
        }
        self.ended = true;
        Ok(None)
    }

    fn take(&mut self, place: &mut [u8]) -> Result<(), ArchiveError> {
        self.stream.read_exact(place).map_err(of_stream)?;
        self.hash.update(&place);
        Ok(())
    }
}

fn of_stream(error: io::Error) -> ArchiveError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ArchiveError::Damaged("it ends too early"),
        io::ErrorKind::InvalidData => ArchiveError::Damaged("a part of it was changed"),
        _ => ArchiveError::Io(error),
    }
}

fn of_age(error: age::DecryptError) -> ArchiveError {
    use age::DecryptError as E;
    match error {
        E::DecryptionFailed | E::KeyDecryptionFailed | E::NoMatchingKeys => ArchiveError::DoesNotOpen,
        E::ExcessiveWork { .. } => ArchiveError::TooMuchWork,
        E::UnknownFormat => ArchiveError::NotAge,
        E::Io(error) => of_stream(error),
        _ => ArchiveError::Damaged("its head was changed"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn passphrase(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    fn read(opener: &Opener, file: &[u8]) -> Result<Vec<(u8, Vec<u8>)>, ArchiveError> {
        let mut reader = FrameReader::open(opener, io::Cursor::new(file.to_vec()))?;
        let mut frames = Vec::new();
        while let Some((kind, body)) = reader.next_frame()? {
            frames.push((kind, body.to_vec()));
        }
        Ok(frames)
    }

    fn written(lock: &Lock) -> Vec<u8> {
        let mut writer = FrameWriter::begin(lock, Vec::new()).unwrap();
        writer.frame(b'H', b"head").unwrap();
        writer.frame(b'R', &[7; 100_000]).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn what_was_written_is_read_by_whom_it_is_for_and_by_nobody_else() {
        let (identity, other) = (x25519::Identity::generate(), x25519::Identity::generate());
        let lock = Lock::to([identity.to_public().to_string().as_str()]).unwrap_or_else(|_| panic!("a recipient"));
        let file = written(&lock);
        let frames = [(b'H', b"head".to_vec()), (b'R', vec![7; 100_000])];
        let opener = |one: x25519::Identity| Opener::Identities(vec![one]);
        assert_eq!(read(&opener(identity.clone()), &file).unwrap(), frames);
        assert!(matches!(read(&opener(other), &file), Err(ArchiveError::DoesNotOpen)));
        let phrase = Opener::Passphrase(passphrase("seven slow tides"));
        assert!(matches!(read(&phrase, &file), Err(ArchiveError::OtherProtection(_))));
        let file = written(&Lock::Passphrase(passphrase("seven slow tides")));
        assert_eq!(read(&phrase, &file).unwrap(), frames);
        let wrong = Opener::Passphrase(passphrase("seven slow tide"));
        assert!(matches!(read(&wrong, &file), Err(ArchiveError::DoesNotOpen)));
        assert!(matches!(read(&opener(identity), &file), Err(ArchiveError::OtherProtection(_))));
        assert!(matches!(read(&phrase, b"PK\x03\x04 something else"), Err(ArchiveError::NotAge)));
        assert!(Lock::to(["age1nobody"]).is_err());
    }

    #[test]
    fn a_file_that_is_cut_off_or_changed_anywhere_is_refused() {
        let identity = x25519::Identity::generate();
        let lock = Lock::Recipients(vec![identity.to_public()]);
        let opener = Opener::Identities(vec![identity]);
        let file = written(&lock);
        for cut in [10, 200, 300, 70_000, file.len() - 16, file.len() - 1] {
            assert!(read(&opener, &file[..cut]).is_err(), "cut at {cut}");
        }
        for place in [150, 230, 400, 66_000, file.len() - 3] {
            let mut changed = file.clone();
            changed[place] ^= 1;
            assert!(read(&opener, &changed).is_err(), "changed at {place}");
        }
        // A writer that stopped at the end of a frame: whole for age, and no backup.
        let mut writer = FrameWriter::begin(&lock, Vec::new()).unwrap();
        writer.frame(b'H', b"head").unwrap();
        let file = writer.out.finish().unwrap();
        assert!(matches!(read(&opener, &file), Err(ArchiveError::Damaged(_))));
    }
}
