//! The load generator: plain sockets and threads, so that it costs little beside what it measures.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::samples::Form;

/// Sends one form and reads the answer's status; other programs answer with 201 or lead elsewhere.
pub fn upload(address: SocketAddr, path: &str, form: &Form) -> io::Result<u16> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.write_all(form.head(path).as_bytes())?;
    for piece in form.body.chunks(256 << 10) {
        socket.write_all(piece)?;
    }
    let mut answer = BufReader::new(socket);
    let (status, _) = head(&mut answer)?;
    Ok(status)
}

/// Uploads to every path, `at_once` at a time. The time of each, or the first thing that went wrong.
pub fn uploads(address: SocketAddr, paths: &[String], form: &Arc<Form>, at_once: usize) -> Result<Vec<Duration>, String> {
    let next = AtomicUsize::new(0);
    let times = Mutex::new(Vec::with_capacity(paths.len()));
    let wrong = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..at_once.min(paths.len()) {
            scope.spawn(|| {
                while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let start = Instant::now();
                    match upload(address, path, form) {
                        Ok(200..=399) => times.lock().unwrap().push(start.elapsed()),
                        Ok(status) => *wrong.lock().unwrap() = Some(format!("an upload was answered with {status}")),
                        Err(error) => *wrong.lock().unwrap() = Some(format!("an upload failed: {error}")),
                    }
                }
            });
        }
    });
    match wrong.into_inner().unwrap() {
        Some(wrong) => Err(wrong),
        None => Ok(times.into_inner().unwrap()),
    }
}

/// Status and announced length of an answer; its head is read, its body is not.
fn head(answer: &mut impl BufRead) -> io::Result<(u16, usize)> {
    let (mut line, mut status, mut length) = (String::new(), 0, 0);
    loop {
        line.clear();
        if answer.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let trimmed = line.trim_end();
        if trimmed.is_empty() {
            return Ok((status, length));
        }
        if status == 0 {
            status = trimmed.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        } else if let Some((name, value)) = trimmed.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
}

/// Reads one page over and over on one kept connection, with a pause between, until told to stop.
pub struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Probe {
    pub fn start(address: SocketAddr, path: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, path) = (stop.clone(), path.to_owned());
        let thread = thread::spawn(move || {
            let mut times = Vec::new();
            let mut socket = BufReader::new(TcpStream::connect(address).unwrap());
            socket.get_ref().set_nodelay(true).unwrap();
            while !told.load(Ordering::Relaxed) {
                times.push(page(&mut socket, &path).unwrap());
                thread::sleep(Duration::from_millis(3));
            }
            times
        });
        Self { stop, thread }
    }

    pub fn stop(self) -> Vec<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn page(socket: &mut BufReader<TcpStream>, path: &str) -> io::Result<Duration> {
    let start = Instant::now();
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    socket.get_mut().write_all(request.as_bytes())?;
    let (status, length) = head(socket)?;
    let mut body = vec![0; length];
    socket.read_exact(&mut body)?;
    if status != 200 {
        return Err(io::Error::other(format!("a page was answered with {status}")));
    }
    Ok(start.elapsed())
}

/// The time of `count` pages, one after the other on one connection; each path once.
pub fn pages(address: SocketAddr, paths: &[String]) -> Vec<Duration> {
    let mut socket = BufReader::new(TcpStream::connect(address).unwrap());
    socket.get_ref().set_nodelay(true).unwrap();
    paths.iter().map(|path| page(&mut socket, path).unwrap()).collect()
}

/// Opens an upload on every path, sends `first` bytes of the form, then a kilobyte on each every quarter of a second, for `time`; all stay open.
pub fn trickle(address: SocketAddr, paths: &[String], form: &Form, first: usize, time: Duration) -> Vec<TcpStream> {
    let mut open: Vec<(TcpStream, usize)> = paths
        .iter()
        .map(|path| {
            let mut socket = TcpStream::connect(address).unwrap();
            socket.write_all(form.head(path).as_bytes()).unwrap();
            socket.write_all(&form.body[..first]).unwrap();
            (socket, first)
        })
        .collect();
    let end = Instant::now() + time;
    while Instant::now() < end {
        for (socket, sent) in &mut open {
            socket.write_all(&form.body[*sent..*sent + 1024]).unwrap();
            *sent += 1024;
        }
        thread::sleep(Duration::from_millis(250));
    }
    open.into_iter().map(|(socket, _)| socket).collect()
}

/// Uploads on every path at once, each at `rate` bytes a second, for `time`: senders with a line of their own, which is slower than the machine.
pub fn paced(address: SocketAddr, paths: &[String], form: &Form, rate: usize, time: Duration) {
    const TURNS: usize = 50;
    let mut open: Vec<TcpStream> = paths
        .iter()
        .map(|path| {
            let mut socket = TcpStream::connect(address).unwrap();
            socket.write_all(form.head(path).as_bytes()).unwrap();
            socket
        })
        .collect();
    let (start, mut sent) = (Instant::now(), 0);
    while start.elapsed() < time && sent + rate / TURNS <= form.body.len() {
        for socket in &mut open {
            socket.write_all(&form.body[sent..sent + rate / TURNS]).unwrap();
        }
        sent += rate / TURNS;
        let due = Duration::from_secs_f64(sent as f64 / rate as f64);
        thread::sleep(due.saturating_sub(start.elapsed()));
    }
}

/// The value below which `share` of the times lie.
pub fn quantile(times: &[Duration], share: f64) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    let place = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(place).copied().unwrap_or_default()
}
