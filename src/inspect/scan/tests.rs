//! The clamd client against a clamd played on a Unix socket: what is sent, and that nothing but the one right answer is clean.

#![allow(clippy::unwrap_used)]

use super::*;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

/// What the played clamd does once the stream has ended.
#[derive(Clone, Copy)]
enum Play {
    Say(&'static [u8]),
    /// Hangs up after so many bytes of the stream, with some last words.
    HangUpAfter(usize, &'static [u8]),
    /// Keeps the line open and says nothing.
    Silence,
    /// Finds the test file where `limit` bytes of the stream reach, as a real one would.
    FindEicar {
        limit: usize,
    },
}

struct Played {
    clamd: Clamd,
    path: PathBuf,
    task: JoinHandle<Vec<Vec<u8>>>,
}

impl Played {
    /// Serves as many connections as there are plays and gives back the streams.
    fn new(plays: &'static [Play]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("nightdrop-clamd-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&path).unwrap();
        let task = tokio::spawn(async move {
            let mut streams = Vec::new();
            for play in plays {
                let (socket, _) = listener.accept().await.unwrap();
                streams.push(serve(socket, *play).await);
            }
            streams
        });
        let clamd = Clamd::new(Address::Unix(path.clone())).with_patience(Duration::from_secs(20));
        Self { clamd, path, task }
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Reads one `INSTREAM` command as clamd does and gives back the document.
async fn serve(mut socket: UnixStream, play: Play) -> Vec<u8> {
    let mut command = [0; 10];
    socket.read_exact(&mut command).await.unwrap();
    assert_eq!(&command, b"zINSTREAM\0");
    let mut stream = Vec::new();
    loop {
        let length = socket.read_u32().await.unwrap() as usize;
        if length == 0 {
            break;
        }
        let start = stream.len();
        stream.resize(start + length, 0);
        socket.read_exact(&mut stream[start..]).await.unwrap();
        if let Play::HangUpAfter(limit, words) = play
            && stream.len() >= limit
        {
            let _ = socket.write_all(words).await;
            return stream;
        }
    }
    let answer: &[u8] = match play {
        Play::Say(answer) => answer,
        Play::FindEicar { limit } if contains(&stream[..stream.len().min(limit)], &eicar()) => b"stream: Win.Test.EICAR_HDB-1 FOUND\0",
        Play::FindEicar { .. } => b"stream: OK\0",
        Play::HangUpAfter(..) => b"",
        Play::Silence => {
            // Until the client has given up and hung up.
            let _ = socket.read_u8().await;
            b""
        }
    };
    let _ = socket.write_all(answer).await;
    stream
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

async fn scan(clamd: &Clamd, chunks: &[&[u8]]) -> Verdict {
    let mut scan = match clamd.begin().await {
        Ok(scan) => scan,
        Err(reason) => return Verdict::Unavailable(reason),
    };
    for chunk in chunks {
        if scan.feed(chunk).await.is_err() {
            break;
        }
    }
    scan.finish().await
}

#[tokio::test]
async fn a_document_arrives_whole_and_is_clean() {
    let mut played = Played::new(&[Play::Say(b"stream: OK\0")]);
    let large = vec![7; 300_000];
    assert_eq!(scan(&played.clamd, &[b"first", b"", &large, b"last"]).await, Verdict::Clean);
    let streams = (&mut played.task).await.unwrap();
    assert_eq!(
        streams,
        [[b"first", &large[..], b"last"].concat()],
        "an empty chunk does not end the stream"
    );
}

#[tokio::test]
async fn an_infection_is_named() {
    let played = Played::new(&[Play::Say(b"stream: Win.Test.EICAR_HDB-1 FOUND\0")]);
    assert_eq!(scan(&played.clamd, &[b"x"]).await, Verdict::Infected("Win.Test.EICAR_HDB-1".into()));
}

#[tokio::test]
async fn nothing_but_the_exact_answer_is_clean() {
    let answers: [(&'static [u8], Unavailable); 13] = [
        (b"", Unavailable::Broken),
        (b"stream: OK", Unavailable::Broken),
        (b"stream: O", Unavailable::Broken),
        (b"stream: OK\n", Unavailable::Broken),
        (b"stream: OK\0\0", Unavailable::Garbage),
        (b"stream: OK\0stream: OK\0", Unavailable::Garbage),
        (b" stream: OK\0", Unavailable::Garbage),
        (b"1: stream: OK\0", Unavailable::Garbage),
        (b"stream: ok\0", Unavailable::Garbage),
        (b"stream: OK \0", Unavailable::Garbage),
        (b"stream: evil\nname FOUND\0", Unavailable::Garbage),
        (b"INSTREAM size limit exceeded. ERROR\0", Unavailable::SizeLimit),
        (b"stream: Can't allocate memory ERROR\0", Unavailable::ScannerError),
    ];
    for (answer, reason) in answers {
        assert_eq!(read_verdict(answer), Verdict::Unavailable(reason), "{}", answer.escape_ascii());
    }
    let played = Played::new(&[Play::Say(b"stream: OK"), Play::Say(b"stream: OK\0+"), Play::Say(&[b'x'; 5_000])]);
    for reason in [Unavailable::Broken, Unavailable::Broken, Unavailable::Garbage] {
        assert_eq!(scan(&played.clamd, &[b"x"]).await, Verdict::Unavailable(reason));
    }
}

#[tokio::test]
async fn hanging_up_early_is_never_clean() {
    let played = Played::new(&[
        Play::HangUpAfter(1, b""),
        Play::HangUpAfter(1, b"stream: OK\0"),
        Play::HangUpAfter(100_000, b"INSTREAM size limit exceeded. ERROR\0"),
    ]);
    for _ in 0..3 {
        let verdict = scan(&played.clamd, &[&[1; 50_000][..]; 100]).await;
        assert!(
            matches!(verdict, Verdict::Unavailable(Unavailable::Broken | Unavailable::SizeLimit)),
            "{verdict:?}: the last words may be lost with the connection"
        );
    }
}

#[tokio::test]
async fn silence_times_out() {
    let played = Played::new(&[Play::Silence]);
    let impatient = played.clamd.clone().with_patience(Duration::from_millis(50));
    assert_eq!(scan(&impatient, &[b"x"]).await, Verdict::Unavailable(Unavailable::TimedOut));
}

#[tokio::test]
async fn nobody_there_is_not_clean() {
    let clamd = Clamd::new(Address::Unix("/nonexistent/clamd.ctl".into()));
    assert_eq!(scan(&clamd, &[b"x"]).await, Verdict::Unavailable(Unavailable::Unreachable));
    assert_eq!(clamd.probe(1).await, Err(ProbeFailure::Unavailable(Unavailable::Unreachable)));
}

#[tokio::test]
async fn the_probe_fills_the_largest_stream_and_looks_at_its_end() {
    let mut played = Played::new(&[Play::FindEicar { limit: usize::MAX }; 2]);
    assert_eq!(played.clamd.probe(1 << 20).await, Ok(()));
    let streams = (&mut played.task).await.unwrap();
    assert_eq!(streams[0], eicar());
    assert_eq!(streams[0].len(), 68);
    assert_eq!(streams[1].len(), 1 << 20);
    assert!(contains(&streams[1][(1 << 20) - 400..], &eicar()));
}

#[tokio::test]
async fn a_scanner_that_stops_early_or_has_no_signatures_fails_the_probe() {
    let short = Played::new(&[Play::FindEicar { limit: 500_000 }; 2]);
    assert_eq!(short.clamd.probe(1 << 20).await, Err(ProbeFailure::MissedAtTheEnd));
    let blind = Played::new(&[Play::Say(b"stream: OK\0")]);
    assert_eq!(blind.clamd.probe(1 << 20).await, Err(ProbeFailure::MissedTestFile));
    let limit = Played::new(&[
        Play::FindEicar { limit: usize::MAX },
        Play::Say(b"stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND\0"),
    ]);
    assert_eq!(
        limit.clamd.probe(1 << 20).await,
        Err(ProbeFailure::Unavailable(Unavailable::SizeLimit)),
        "said to be found, and not even looked at"
    );
}

#[test]
fn the_archive_is_one_a_reader_finds_its_way_in() {
    let archive = EndArchive::of(b"hello");
    let [head, tail] = archive.around(100);
    let file = [&head[..], &[0; 100], &tail].concat();
    assert_eq!(file.len() as u64, archive.len() + 100);
    let n32 = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let end = file.len() - 22;
    assert_eq!(&file[end..end + 4], b"PK\x05\x06");
    let directory = n32(end + 16);
    assert_eq!(directory + n32(end + 12), end);
    let second = directory + 46 + 1;
    for entry in [directory, second] {
        assert_eq!(&file[entry..entry + 4], b"PK\x01\x02");
        assert_eq!(&file[n32(entry + 42)..][..4], b"PK\x03\x04");
    }
    let local = n32(second + 42);
    assert_eq!(n32(local + 14), Crc32::of(b"hello") as usize);
    assert_eq!(&file[local + 30..local + 44], b"eicar.comhello");
}

#[test]
fn addresses_and_dates_are_read() {
    assert_eq!(Address::parse("unix:/run/c"), Some(Address::Unix("/run/c".into())));
    assert_eq!(Address::parse("/run/c"), Some(Address::Unix("/run/c".into())));
    assert_eq!(Address::parse("tcp:localhost:3310"), Some(Address::Tcp("localhost:3310".into())));
    assert_eq!(Address::parse("tcp:[::1]:3310"), Some(Address::Tcp("[::1]:3310".into())));
    for wrong in ["", "run/c", "unix:run", "tcp:localhost", "tcp::3310", "tcp:h:0", "http://h:1"] {
        assert_eq!(Address::parse(wrong), None, "{wrong}");
    }
    let date = signature_date(b"ClamAV 1.4.2/27500/Tue Jan  2 03:04:05 2024\0");
    assert_eq!(date, Some(time::macros::datetime!(2024-01-02 03:04:05 UTC)));
    assert_eq!(signature_date(b"ClamAV 1.4.2\0"), None);
}
