//! Images fetched from a server that means harm: whatever it says, the download ends soon, takes no
//! more than it may, and what is kept is what the server called whole.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hostler::backend::drivers::image::{Images, Limits};
use hostler::backend::ports::{Checksum, CommandLog, ImageTool, MadeImage};
use hostler::domain::Failure;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::supervision;

/// What a server sends.
#[derive(Clone, Default)]
struct Sends {
    /// First.
    once: Vec<u8>,
    /// Then, until nobody reads it any more.
    forever: Vec<u8>,
    /// Between two of those.
    pause: Duration,
    /// Whether it keeps the line open and says nothing more.
    hangs: bool,
}

impl Sends {
    fn once(text: impl Into<Vec<u8>>) -> Self {
        Self { once: text.into(), ..Self::default() }
    }

    fn then_forever(self, text: &str) -> Self {
        Self { forever: text.into(), ..self }
    }
}

/// A server that answers every request in the same way, whatever is asked for.
struct Attacker {
    address: std::net::SocketAddr,
    sends: Arc<Mutex<Sends>>,
    asked: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
}

impl Attacker {
    async fn new(sends: Sends) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            sends: Arc::new(Mutex::new(sends)),
            asked: Arc::default(),
            sent: Arc::default(),
        };
        let (sends, asked, sent) =
            (server.sends.clone(), server.asked.clone(), server.sent.clone());
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                asked.fetch_add(1, Ordering::Relaxed);
                let sends = sends.lock().unwrap().clone();
                tokio::spawn(serve(socket, sends, sent.clone()));
            }
        });
        server
    }

    fn sends(&self, sends: Sends) {
        *self.sends.lock().unwrap() = sends;
    }

    fn url(&self, file: &str) -> String {
        format!("http://{}/{file}", self.address)
    }

    async fn fetch(&self, dir: &Path, checksum: &Checksum) -> Result<MadeImage, Failure> {
        let limits = Limits { answer: Duration::from_millis(500), ..Limits::default() };
        let images = Images::new(supervision()).within(limits);
        let (url, log) = (self.url("disk.img"), CommandLog::default());
        images.fetch(dir, &url, checksum, 1 << 30, &|_| {}, &log).await
    }

    /// Why neither the image nor the list of its checksums is fetched. Nothing is left.
    async fn fails(&self) -> [Failure; 2] {
        let dir = tempfile::tempdir().unwrap();
        let list = Checksum::List { url: self.url("SHA256SUMS") };
        let mut failures = Vec::new();
        for checksum in [Checksum::Unchecked, list] {
            failures.push(self.fetch(dir.path(), &checksum).await.unwrap_err());
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        }
        failures.try_into().unwrap()
    }
}

async fn serve(socket: tokio::net::TcpStream, sends: Sends, sent: Arc<AtomicUsize>) {
    let mut socket = BufReader::new(socket);
    let mut line = String::new();
    while socket.read_line(&mut line).await.is_ok_and(|read| read > 2) {
        line.clear();
    }
    // Whoever has seen enough goes away.
    let _gone = socket.write_all(&sends.once).await;
    while !sends.forever.is_empty() && socket.write_all(&sends.forever).await.is_ok() {
        sent.fetch_add(sends.forever.len(), Ordering::Relaxed);
        if !sends.pause.is_zero() {
            tokio::time::sleep(sends.pause).await;
        }
    }
    if sends.hangs {
        std::future::pending::<()>().await;
    }
    let _gone = socket.shutdown().await;
}

/// An answer with these headers and this body.
fn answer(headers: &str, body: &[u8]) -> Sends {
    let head = format!("HTTP/1.1 {headers}\r\nconnection: close\r\n\r\n");
    Sends::once([head.as_bytes(), body].concat())
}

/// A raw disk of so many bytes.
fn raw_disk(bytes: usize) -> Vec<u8> {
    let mut disk = vec![7; bytes];
    disk[..0x210].fill(0);
    disk[0x1FE..0x200].copy_from_slice(b"\x55\xAA");
    disk
}

#[tokio::test]
async fn headers_without_an_end_are_not_read_to_it() {
    for forever in ["x-more: and more\r\n", "x", "x-more:", " \r\n"] {
        let head = Sends::once("HTTP/1.1 200 OK\r\n").then_forever(&forever.repeat(1000));
        let server = Attacker::new(head).await;
        for failure in server.fails().await {
            assert!(failure.message.starts_with("cannot fetch http://"), "{failure}");
        }
        let sent = server.sent.load(Ordering::Relaxed);
        assert!(sent < 32 << 20, "{sent} bytes of headers were read");
    }
}

#[tokio::test]
async fn a_server_that_never_comes_to_its_answer_is_given_up() {
    let drop = |text: &str| Sends {
        pause: Duration::from_millis(5),
        ..Sends::once("HTTP/1.1 200 OK\r\nx: ").then_forever(text)
    };
    for sends in [
        Sends { hangs: true, ..Sends::default() },
        Sends { hangs: true, ..Sends::once("HTTP/1.1 200 OK\r\ncontent-le") },
        drop("x"),
        Sends {
            pause: Duration::from_millis(5),
            ..Sends::default().then_forever("HTTP/1.1 100 Continue\r\n\r\n")
        },
    ] {
        let server = Attacker::new(sends).await;
        for failure in server.fails().await {
            assert!(failure.message.contains("comes so slowly"), "{failure}");
            assert!(failure.passing);
        }
    }
}

#[tokio::test]
async fn a_redirect_leads_neither_in_a_circle_nor_away_from_the_web() {
    let server = Attacker::new(Sends::default()).await;
    for (to, why, most) in [
        ("/again", "redirected more than 10 times", 22),
        ("ftp://127.0.0.1/disk.img", "scheme", 2),
        // No place on the web at all, so none that could be gone to.
        ("file:///etc/passwd", "302 Found", 2),
        ("unix:/run/docker.sock", "302 Found", 2),
        ("data:text/plain,x", "302 Found", 2),
    ] {
        server.sends(answer(&format!("302 Found\r\nlocation: {to}\r\ncontent-length: 0"), b""));
        server.asked.store(0, Ordering::Relaxed);
        for failure in server.fails().await {
            assert!(failure.message.contains(why), "{to}: {failure}");
            assert!(!failure.passing, "{to}: {failure}");
        }
        let asked = server.asked.load(Ordering::Relaxed);
        assert!(asked <= most, "{to}: {asked} requests");
    }
}

#[tokio::test]
async fn nothing_is_unpacked_on_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let zeros = dir.path().join("zeros");
    std::fs::File::create(&zeros).unwrap().set_len(256 << 20).unwrap();
    let packed = Command::new("gzip").arg("--stdout").arg(&zeros).output().unwrap().stdout;
    let headers = format!("200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}", packed.len());
    let server = Attacker::new(answer(&headers, &packed)).await;
    let [image, list] = server.fails().await;
    assert!(image.message.contains("is no disk image"), "{image}");
    assert!(list.message.contains("has no SHA-256 or SHA-512"), "{list}");
}

#[tokio::test]
async fn a_list_without_an_end_is_no_list() {
    let list = Sends::once("HTTP/1.1 200 OK\r\n\r\n").then_forever(&"0 *x\n".repeat(10_000));
    let server = Attacker::new(list).await;
    let dir = tempfile::tempdir().unwrap();
    let checksum = Checksum::List { url: server.url("SHA256SUMS") };
    let failure = server.fetch(dir.path(), &checksum).await.unwrap_err();
    assert!(failure.message.contains("it is too big"), "{failure}");
    assert!(!failure.passing, "{failure}");
    let sent = server.sent.load(Ordering::Relaxed);
    assert!(sent < 64 << 20, "{sent} bytes were read");
}

#[tokio::test]
async fn a_length_that_is_no_length_is_not_believed() {
    let disk = raw_disk(100_000);
    let server = Attacker::new(Sends::default()).await;
    for headers in [
        "200 OK\r\ncontent-length: 100000\r\ncontent-length: 5",
        "200 OK\r\ncontent-length: -5",
        "200 OK\r\ncontent-length: 99999999999999999999999999",
        "200 OK\r\ncontent-length: 0x186a0",
    ] {
        server.sends(answer(headers, &disk));
        for failure in server.fails().await {
            assert!(failure.message.starts_with("cannot fetch http://"), "{headers}: {failure}");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    // What comes beyond is another answer, to a question nobody asked.
    server.sends(answer("200 OK\r\ncontent-length: 70000", &disk));
    let made = server.fetch(dir.path(), &Checksum::Unchecked).await.unwrap();
    assert_eq!(made.virtual_bytes, 70_000);
}

/// Where a download stopped, with what its server called the version it is of.
async fn begun(server: &Attacker, dir: &Path, disk: &[u8]) {
    let headers = format!("200 OK\r\netag: \"one\"\r\ncontent-length: {}", disk.len());
    server.sends(answer(&headers, &disk[..disk.len() / 2]));
    let failure = server.fetch(dir, &Checksum::Unchecked).await.unwrap_err();
    assert!(failure.passing && failure.message.contains("broke off"), "{failure}");
    let part = std::fs::metadata(dir.join("fetch.partial")).unwrap().len();
    assert_eq!(part, disk.len() as u64 / 2);
}

#[tokio::test]
async fn a_part_is_not_the_whole_because_it_comes_to_its_end() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), raw_disk(100_000));
    let server = Attacker::new(Sends::default()).await;
    begun(&server, dir.path(), &disk).await;
    let part = |from: usize, to: usize, measured: bool| {
        let mut headers = format!("206 Partial\r\ncontent-range: bytes {from}-{}/100000", to - 1);
        if measured {
            headers.push_str(&format!("\r\ncontent-length: {}", to - from));
        }
        answer(&headers, &disk[from..to])
    };
    for (from, to, measured) in [(50_000, 60_000, true), (60_000, 70_000, false)] {
        server.sends(part(from, to, measured));
        let failure = server.fetch(dir.path(), &Checksum::Unchecked).await.unwrap_err();
        let why = format!("broke off after {to} of 100000 bytes");
        assert!(failure.passing && failure.message.contains(&why), "{failure}");
    }
    server.sends(part(70_000, 100_000, true));
    server.fetch(dir.path(), &Checksum::Unchecked).await.unwrap();
    assert!(std::fs::read(dir.path().join("disk.raw")).unwrap() == disk);
}

#[tokio::test]
async fn what_does_not_go_on_as_it_began_is_removed() {
    let disk = raw_disk(100_000);
    let server = Attacker::new(Sends::default()).await;
    let rest = &disk[50_000..];
    for lie in [
        // Another version than was asked for.
        answer("206 Partial\r\netag: \"two\"\r\ncontent-range: bytes 50000-99999/100000", rest),
        // More than there is.
        answer("206 Partial\r\ncontent-range: bytes 50000-59999/60000", rest),
        answer("206 Partial\r\ncontent-range: bytes 50000-99999/10", rest),
        // Another part than was asked for, or nobody knows which.
        answer("206 Partial\r\ncontent-range: bytes 40000-99999/100000", rest),
        answer("206 Partial\r\ncontent-range: bytes 99999999999999999999-1/1", rest),
        answer("206 Partial", rest),
        // Nothing beyond, of something that is not as long.
        answer("416 No\r\ncontent-range: bytes */100000", b""),
        answer("416 No", b""),
    ] {
        let dir = tempfile::tempdir().unwrap();
        begun(&server, dir.path(), &disk).await;
        let told = String::from_utf8_lossy(&lie.once[..lie.once.len().min(80)]).into_owned();
        server.sends(lie);
        let failure = server.fetch(dir.path(), &Checksum::Unchecked).await.unwrap_err();
        let why = "could not be gone on with; what there was is removed";
        assert!(failure.passing && failure.message.contains(why), "{told}: {failure}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{told}");
    }
}
