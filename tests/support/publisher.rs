//! A publisher of files on the loopback, which can stop in the middle of one.

#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hostler::domain::display::hex;
use sha2::Digest;

/// A server with one file.
pub struct Publisher {
    address: std::net::SocketAddr,
    held: Arc<Held>,
}

struct Held {
    bytes: Vec<u8>,
    /// How much of it is given away.
    limit: AtomicUsize,
    /// Where each request for it began.
    asked: Mutex<Vec<u64>>,
}

impl Publisher {
    /// Serves `bytes`, but nothing after the first `limit` of them until told otherwise.
    pub fn holding_back(bytes: Vec<u8>, limit: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let limit = AtomicUsize::new(limit);
        let held = Arc::new(Held { bytes, limit, asked: Mutex::default() });
        let serving = held.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let held = serving.clone();
                // Who was cut off comes back; that is what it is about.
                std::thread::spawn(move || drop(held.answer(stream)));
            }
        });
        Self { address, held }
    }

    /// From now on, the whole file is given.
    pub fn give_all(&self) {
        self.held.limit.store(usize::MAX, Ordering::SeqCst);
    }

    /// Where a file is.
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// At which byte each request for the file began.
    pub fn asked_from(&self) -> Vec<u64> {
        self.held.asked.lock().expect("the requests").clone()
    }
}

impl Held {
    /// Answers one request, and holds the line open where it stops.
    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut from = 0;
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
                break;
            }
            if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
                from = range.trim().trim_end_matches('-').parse().expect("a range");
            }
        }
        self.asked.lock().expect("the requests").push(from as u64);
        let (whole, left) = (self.bytes.len(), self.bytes.len() - from);
        let status = if from == 0 {
            "200 OK".to_owned()
        } else {
            format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{whole}", whole - 1)
        };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {left}\r\nETag: \"one\"\r\n\
             Accept-Ranges: bytes\r\nConnection: close\r\n\r\n"
        )?;
        let limit = self.limit.load(Ordering::SeqCst).min(whole);
        stream.write_all(self.bytes.get(from..limit).unwrap_or_default())?;
        stream.flush()?;
        if limit < whole {
            // Until the other side goes.
            reader.read_line(&mut String::new())?;
        }
        Ok(())
    }
}

/// The SHA-256 of something, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&sha2::Sha256::digest(bytes))
}
