//! Does clamd call it clean? A client for its `INSTREAM` command over a Unix socket or TCP, fed chunk by chunk.
//!
//! * **Only the exact answer `stream: OK` is clean.** A time-out, an error, a size limit, a short answer, a word too many: not clean, and
//!   never mistaken for clean. Callers keep the document and try again; there is no "scan if available".
//! * No document is held here: a chunk goes to the socket before [`Scan::feed`] returns. Nothing of it is kept or logged.
//! * [`Clamd::probe`] shows that the scanner finds something at all, also at the end of the largest stream, where a size limit set too
//!   low on its side would make it answer "clean" without having looked.
//!
//! clamd needs `StreamMaxLength`, `MaxFileSize` and `MaxScanSize` above the largest file, `AlertExceedsMax yes`, `AlertEncrypted yes` and
//! `TemporaryDirectory` on a tmpfs. The protocol is described in clamd(8).

pub(crate) mod settings;

use super::crc::Crc32;
use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// How long one wait for clamd may take: connecting, writing a chunk, the answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than any answer clamd gives.
const MAX_ANSWER: usize = 1024;
/// Pieces in which the probe writes its filling.
const PIECE: usize = 64 << 10;

/// Where clamd listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Unix(PathBuf),
    /// `host:port`. Documents cross this connection in the clear: loopback or a private network only.
    Tcp(String),
}

impl Address {
    /// Reads `unix:/run/clamav/clamd.ctl`, an absolute path, or `tcp:host:port`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            Some(("unix", path)) if path.starts_with('/') => Some(Self::Unix(path.into())),
            Some(("tcp", host)) => {
                let (name, port) = host.rsplit_once(':')?;
                (!name.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)).then(|| Self::Tcp(host.into()))
            }
            _ => text.starts_with('/').then(|| Self::Unix(text.into())),
        }
    }
}

/// What came of one scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Clean,
    /// The name of what was found, as clamd's signatures call it: at most 128 printable ASCII characters.
    Infected(String),
    /// Not clean: nobody looked, or nobody can tell.
    Unavailable(Unavailable),
}

/// Why there is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Nobody answers at the address.
    Unreachable,
    /// One wait took longer than the patience.
    TimedOut,
    /// The connection broke, or ended before the whole answer.
    Broken,
    /// The stream was longer than clamd's `StreamMaxLength`.
    SizeLimit,
    /// clamd reports an error of its own.
    ScannerError,
    /// The answer is none of those clamd is documented to give.
    Garbage,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "scanner unreachable",
            Self::TimedOut => "scanner timed out",
            Self::Broken => "connection to scanner broke",
            Self::SizeLimit => "document beyond the scanner's limits: raise StreamMaxLength, MaxFileSize and MaxScanSize",
            Self::ScannerError => "scanner reports an error",
            Self::Garbage => "scanner's answer is not understood",
        })
    }
}

impl std::error::Error for Unavailable {}

/// What [`Clamd::probe`] found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeFailure {
    Unavailable(Unavailable),
    /// The EICAR test file was called clean, or something else: there are no signatures.
    MissedTestFile,
    /// The test file was found alone, but not at the end of the largest stream: a size limit of clamd is too low.
    MissedAtTheEnd,
}

impl fmt::Display for ProbeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(reason) => reason.fmt(f),
            Self::MissedTestFile => f.write_str("scanner does not find the EICAR test file"),
            Self::MissedAtTheEnd => f.write_str("scanner does not look at the end of the largest file: raise MaxFileSize and MaxScanSize"),
        }
    }
}

impl std::error::Error for ProbeFailure {}

/// A clamd to ask. Each scan is a connection of its own.
#[derive(Clone, Debug)]
pub struct Clamd {
    address: Address,
    patience: Duration,
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

impl Clamd {
    /// A client with a [`PATIENCE`] of 60 s.
    pub fn new(address: Address) -> Self {
        Self {
            address,
            patience: PATIENCE,
        }
    }

    /// With another patience for each wait.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// [`Unavailable::Unreachable`], `TimedOut` or `Broken`.
    pub async fn begin(&self) -> Result<Scan, Unavailable> {
        let mut scan = Scan {
            socket: self.connect().await?,
            patience: self.patience,
            broken: None,
        };
        scan.write(b"zINSTREAM\0").await?;
        Ok(scan)
    }

    /// Asks for the EICAR test file, alone and at the end of a stream of `max_bytes` (the largest file the portal takes).
    ///
    /// # Errors
    /// [`ProbeFailure`]: the scanner must not be relied on.
    pub async fn probe(&self, max_bytes: u64) -> Result<(), ProbeFailure> {
        let alone = self.begin().await.map_err(ProbeFailure::Unavailable)?;
        found_eicar(alone.feed_and_finish(&eicar(), 0, b"").await, ProbeFailure::MissedTestFile)?;
        let archive = EndArchive::of(&eicar());
        let filling = max_bytes.saturating_sub(archive.len());
        let at_the_end = self.begin().await.map_err(ProbeFailure::Unavailable)?;
        let [head, tail] = archive.around(filling);
        found_eicar(
            at_the_end.feed_and_finish(&head, filling, &tail).await,
            ProbeFailure::MissedAtTheEnd,
        )
    }

    /// From when clamd's signatures are. clamd writes its local time without a zone; it is taken as UTC.
    ///
    /// # Errors
    /// As for a scan; [`Unavailable::Garbage`] also if clamd has no signatures loaded.
    pub async fn signatures_from(&self) -> Result<OffsetDateTime, Unavailable> {
        let mut scan = Scan {
            socket: self.connect().await?,
            patience: self.patience,
            broken: None,
        };
        scan.write(b"zVERSION\0").await?;
        signature_date(&scan.answer().await?).ok_or(Unavailable::Garbage)
    }

    async fn connect(&self) -> Result<Box<dyn Socket>, Unavailable> {
        let connecting = async {
            Ok::<Box<dyn Socket>, io::Error>(match &self.address {
                Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
                Address::Tcp(host) => Box::new(TcpStream::connect(host.as_str()).await?),
            })
        };
        match timeout(self.patience, connecting).await {
            Ok(Ok(socket)) => Ok(socket),
            Ok(Err(_)) => Err(Unavailable::Unreachable),
            Err(_) => Err(Unavailable::TimedOut),
        }
    }
}

/// One document on its way to clamd. Dropping it before [`finish`](Self::finish) hangs up; that is no verdict.
pub struct Scan {
    socket: Box<dyn Socket>,
    patience: Duration,
    broken: Option<Unavailable>,
}

impl Scan {
    /// Sends the next bytes of the document.
    ///
    /// # Errors
    /// The connection is of no more use; [`finish`](Self::finish) then tells the reason as far as clamd gave one, and is never clean.
    pub async fn feed(&mut self, chunk: &[u8]) -> Result<(), Unavailable> {
        // A length of zero would end the stream. Lengths are four bytes on the wire.
        for piece in chunk.chunks(u32::MAX as usize) {
            self.write(&(piece.len() as u32).to_be_bytes()).await?;
            self.write(piece).await?;
        }
        Ok(())
    }

    /// Ends the stream and waits for the verdict.
    pub async fn finish(mut self) -> Verdict {
        let ended = self.write(&[0; 4]).await;
        match (ended, self.answer().await) {
            (Ok(()), Ok(answer)) => read_verdict(&answer),
            (Ok(()), Err(reason)) => Verdict::Unavailable(reason),
            // clamd hangs up on a stream that is too long; its last words may still be there.
            (Err(_), Ok(answer)) if read_verdict(&answer) == Verdict::Unavailable(Unavailable::SizeLimit) => {
                Verdict::Unavailable(Unavailable::SizeLimit)
            }
            (Err(reason), _) => Verdict::Unavailable(reason),
        }
    }

    /// Sends `head`, `filling` zeros and `tail`. A fault on the way shows at the end.
    async fn feed_and_finish(mut self, head: &[u8], filling: u64, tail: &[u8]) -> Verdict {
        let zeros = vec![0; PIECE];
        let pieces = (0..filling)
            .step_by(PIECE)
            .map(|at| &zeros[..(filling - at).min(PIECE as u64) as usize]);
        for piece in std::iter::once(head).chain(pieces).chain([tail]) {
            if self.feed(piece).await.is_err() {
                break;
            }
        }
        self.finish().await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Unavailable> {
        if let Some(reason) = self.broken {
            return Err(reason);
        }
        let written = match timeout(self.patience, self.socket.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Unavailable::Broken),
            Err(_) => Err(Unavailable::TimedOut),
        };
        self.broken = written.err();
        written
    }

    /// Everything clamd says until it hangs up, which it does after one command.
    async fn answer(&mut self) -> Result<Vec<u8>, Unavailable> {
        let mut answer = Vec::new();
        let mut socket = (&mut self.socket).take(MAX_ANSWER as u64 + 1);
        match timeout(self.patience, socket.read_to_end(&mut answer)).await {
            Ok(Ok(_)) if answer.len() > MAX_ANSWER => Err(Unavailable::Garbage),
            Ok(Ok(_)) => Ok(answer),
            // A reset behind a whole answer would be read as broken: rather ask again than guess.
            Ok(Err(_)) => Err(Unavailable::Broken),
            Err(_) => Err(Unavailable::TimedOut),
        }
    }
}

/// The whole answer, its closing zero included.
fn read_verdict(answer: &[u8]) -> Verdict {
    let unavailable = |reason| Verdict::Unavailable(reason);
    let Some((0, line)) = answer.split_last() else {
        return unavailable(Unavailable::Broken);
    };
    let found = line.strip_prefix(b"stream: ").and_then(|rest| rest.strip_suffix(b" FOUND"));
    match (line, found) {
        (b"stream: OK", _) => Verdict::Clean,
        (b"INSTREAM size limit exceeded. ERROR", _) => unavailable(Unavailable::SizeLimit),
        // `AlertExceedsMax`: not something found, but something not looked at.
        (_, Some(name)) if name.starts_with(b"Heuristics.Limits.Exceeded") => unavailable(Unavailable::SizeLimit),
        (_, Some(name)) if (1..=128).contains(&name.len()) && name.iter().all(u8::is_ascii_graphic) => {
            Verdict::Infected(String::from_utf8_lossy(name).into_owned())
        }
        _ if line.ends_with(b"ERROR") && !line.contains(&0) => unavailable(Unavailable::ScannerError),
        _ => unavailable(Unavailable::Garbage),
    }
}

/// `ClamAV 1.4.2/27500/Tue Jan  2 03:04:05 2024`.
fn signature_date(answer: &[u8]) -> Option<OffsetDateTime> {
    let format = format_description!("[weekday repr:short] [month repr:short] [day padding:space] [hour]:[minute]:[second] [year]");
    let line = std::str::from_utf8(answer.strip_suffix(b"\0")?).ok()?;
    let mut fields = line.strip_prefix("ClamAV ")?.splitn(3, '/');
    let date = fields.nth(2)?;
    time::PrimitiveDateTime::parse(date, &format)
        .ok()
        .map(time::PrimitiveDateTime::assume_utc)
}

fn found_eicar(verdict: Verdict, missed: ProbeFailure) -> Result<(), ProbeFailure> {
    match verdict {
        Verdict::Infected(name) if name.to_ascii_lowercase().contains("eicar") => Ok(()),
        Verdict::Infected(_) | Verdict::Clean => Err(missed),
        Verdict::Unavailable(reason) => Err(ProbeFailure::Unavailable(reason)),
    }
}

/// The harmless file every scanner must report (eicar.org). In two halves, so that this program is not reported itself.
fn eicar() -> Vec<u8> {
    [r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STAND", "ARD-ANTIVIRUS-TEST-FILE!$H+H*"]
        .concat()
        .into_bytes()
}

/// A ZIP archive whose one interesting entry stands at its very end: scanners report the test file only as a file of its own, and open
/// an archive only if they read as far as its directory. Between the first (empty) entry and the second there is room for filling.
struct EndArchive {
    file: Vec<u8>,
}

impl EndArchive {
    const NAMES: [&[u8]; 2] = [b"a", b"eicar.com"];

    fn of(file: &[u8]) -> Self {
        Self { file: file.to_vec() }
    }

    /// Length without filling.
    fn len(&self) -> u64 {
        self.around(0).iter().map(|part| part.len() as u64).sum()
    }

    /// What stands before the filling, and what behind.
    fn around(&self, filling: u64) -> [Vec<u8>; 2] {
        let head = Self::local(Self::NAMES[0], b"");
        let at = head.len() as u64 + filling;
        let last = Self::local(Self::NAMES[1], &self.file);
        let directory = [Self::central(Self::NAMES[0], b"", 0), Self::central(Self::NAMES[1], &self.file, at)].concat();
        let n32 = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
        let end = [
            b"PK\x05\x06\0\0\0\0\x02\0\x02\0",
            &n32(directory.len() as u64)[..],
            &n32(at + last.len() as u64),
            &[0; 2],
        ];
        [head, [last, directory, end.concat()].concat()]
    }

    /// Version 1.0, no flags, stored, midnight of the first of January 1980, checksum, two lengths, length of the name.
    fn common(name: &[u8], data: &[u8]) -> Vec<u8> {
        let length = (data.len() as u32).to_le_bytes();
        let sum = Crc32::of(data).to_le_bytes();
        [
            b"\x0A\0\0\0\0\0\0\0\x21\0",
            &sum[..],
            &length,
            &length,
            &[name.len() as u8, 0],
            &[0; 2],
        ]
        .concat()
    }

    fn local(name: &[u8], data: &[u8]) -> Vec<u8> {
        [b"PK\x03\x04", &Self::common(name, data)[..], name, data].concat()
    }

    fn central(name: &[u8], data: &[u8], at: u64) -> Vec<u8> {
        let at = u32::try_from(at).unwrap_or(u32::MAX).to_le_bytes();
        [b"PK\x01\x02\x0A\0", &Self::common(name, data)[..], &[0; 10], &at, name].concat()
    }
}

#[cfg(test)]
mod tests;
