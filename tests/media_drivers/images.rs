//! Images fetched from a server of our own, and imported from files.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hostler::backend::drivers::image::{Images, Limits};
use hostler::backend::drivers::room::HeadRoom;
use hostler::backend::ports::{Checksum, CommandLog, ImageTool, MadeImage};
use hostler::domain::display::hex;
use hostler::domain::{DiskFormat, Failure, ImageForm};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::{Reported, rises, supervision};

/// More bytes than any image here has.
const ENOUGH: u64 = 1 << 30;

/// Limits that leave no room at all.
fn no_room() -> Limits {
    Limits { reserve: HeadRoom { most: u64::MAX, part: 1 }, ..Limits::default() }
}

fn images() -> Images {
    Images::new(supervision())
}

/// What a server does with a request for the image.
#[derive(Clone, Copy, PartialEq)]
enum Serves {
    /// All of it, or the part asked for.
    Ranges,
    /// All of it, whatever part is asked for.
    Whole,
    /// All of it, without telling how much that is.
    Unmeasured,
    /// Half of what is asked for.
    Half,
    /// An error that may pass.
    Busy,
    /// More than anybody has room for, as it says itself.
    Huge,
    /// More and more, without telling how much that is.
    Endless,
    /// A byte now and then, without an end.
    Drops,
}

/// A web server with one image and its list of checksums.
struct ImageServer {
    address: std::net::SocketAddr,
    serves: Arc<Mutex<Serves>>,
    /// The first byte each request for the image asked for.
    asked: Arc<Mutex<Vec<usize>>>,
}

impl ImageServer {
    async fn of(image: Vec<u8>, list: String) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            serves: Arc::new(Mutex::new(Serves::Ranges)),
            asked: Arc::default(),
        };
        let (serves, asked) = (server.serves.clone(), server.asked.clone());
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let mut socket = BufReader::new(socket);
                let (mut path, mut from) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    socket.read_line(&mut line).await.unwrap();
                    let line = line.trim().to_ascii_lowercase();
                    if line.is_empty() {
                        break;
                    }
                    if let Some(rest) = line.strip_prefix("get ") {
                        path = rest.split(' ').next().unwrap().to_owned();
                    }
                    if let Some(range) = line.strip_prefix("range: bytes=") {
                        from = range.trim_end_matches('-').parse().unwrap();
                    }
                }
                let serves = *serves.lock().unwrap();
                let (mut head, mut body) = ("HTTP/1.1 200 OK\r\n".to_owned(), list.as_bytes());
                if path == "/disk.img" {
                    asked.lock().unwrap().push(from);
                    if serves == Serves::Busy {
                        head = "HTTP/1.1 503 Busy\r\n".to_owned();
                    } else if from > 0 && serves != Serves::Whole {
                        head = format!(
                            "HTTP/1.1 206 Partial\r\ncontent-range: bytes {from}-{}/{}\r\n",
                            image.len() - 1,
                            image.len()
                        );
                    }
                    let from = if serves == Serves::Whole { 0 } else { from };
                    body = &image[from..];
                    head.push_str("etag: \"one\"\r\n");
                }
                match serves {
                    Serves::Unmeasured | Serves::Endless | Serves::Drops => {}
                    Serves::Huge => head.push_str("content-length: 1125899906842624\r\n"),
                    _ => head.push_str(&format!("content-length: {}\r\n", body.len())),
                }
                if serves == Serves::Half && path == "/disk.img" {
                    body = &body[..body.len() / 2];
                }
                head.push_str("connection: close\r\n\r\n");
                // Whoever has seen enough goes away.
                let _gone = socket.write_all(head.as_bytes()).await;
                if serves == Serves::Endless || serves == Serves::Drops {
                    tokio::spawn(go_on(socket, serves));
                    continue;
                }
                let _gone = socket.write_all(body).await;
                let _gone = socket.shutdown().await;
            }
        });
        server
    }

    fn serves(&self, what: Serves) {
        *self.serves.lock().unwrap() = what;
    }

    fn url(&self, file: &str) -> String {
        format!("http://{}/{file}", self.address)
    }

    async fn fetch(&self, dir: &Path) -> Result<MadeImage, Failure> {
        let list = Checksum::List { url: self.url("SHA256SUMS") };
        let (url, log) = (self.url("disk.img"), CommandLog::default());
        images().fetch(dir, &url, &list, ENOUGH, &|_| {}, &log).await
    }

    /// Why the image is not fetched under these limits.
    async fn fails(&self, dir: &Path, max_bytes: u64, limits: Limits) -> Failure {
        let (url, log) = (self.url("disk.img"), CommandLog::default());
        let images = images().within(limits);
        images.fetch(dir, &url, &Checksum::Unchecked, max_bytes, &|_| {}, &log).await.unwrap_err()
    }
}

/// Sends bytes until nobody wants them any more.
async fn go_on(mut socket: BufReader<tokio::net::TcpStream>, serves: Serves) {
    let piece = if serves == Serves::Drops { vec![0; 1] } else { vec![0; 1 << 16] };
    while socket.write_all(&piece).await.is_ok() {
        if serves == Serves::Drops {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A raw disk: a boot sector, and noise.
fn raw_disk() -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..3_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    bytes[..0x210].fill(0);
    bytes[0x1FE..0x200].copy_from_slice(b"\x55\xAA");
    bytes[0x8001..0x8006].fill(0);
    bytes
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// A server with a raw disk and the right checksum.
async fn server() -> ImageServer {
    let bytes = raw_disk();
    let list = format!("{} *disk.img\n", sha256(&bytes));
    ImageServer::of(bytes, list).await
}

fn raw_in(dir: &Path) -> ImageForm {
    ImageForm::Disk { path: dir.join("disk.raw"), format: DiskFormat::Raw }
}

#[tokio::test]
async fn an_image_is_fetched_whole_and_only_once() {
    let (dir, server) = (tempfile::tempdir().unwrap(), server().await);
    let (log, reported) = (CommandLog::default(), Reported::default());
    let checksum = Checksum::Sha256(sha256(&raw_disk()));
    let url = server.url("disk.img");
    let made = images()
        .fetch(dir.path(), &url, &checksum, ENOUGH, &|meter| reported.take(meter), &log)
        .await
        .unwrap();
    assert_eq!(made.form, raw_in(dir.path()));
    assert_eq!((made.virtual_bytes, made.sha256), (3_000_000, sha256(&raw_disk())));
    assert!(!reported.fractions().is_empty());
    server.fetch(dir.path()).await.unwrap();
    assert_eq!(*server.asked.lock().unwrap(), [0]);
}

#[tokio::test]
async fn a_download_goes_on_where_it_stopped() {
    let (dir, server) = (tempfile::tempdir().unwrap(), server().await);
    server.serves(Serves::Half);
    let failure = server.fetch(dir.path()).await.unwrap_err();
    assert!(failure.passing && failure.message.contains("broke off"), "{failure}");
    server.serves(Serves::Busy);
    let failure = server.fetch(dir.path()).await.unwrap_err();
    assert!(failure.passing && failure.message.contains("503"), "{failure}");
    server.serves(Serves::Ranges);
    server.fetch(dir.path()).await.unwrap();
    let asked = server.asked.lock().unwrap().clone();
    assert!(
        asked[0] == 0 && asked[1] > 0 && rises(&[asked[1] as f64, asked[2] as f64]),
        "{asked:?}"
    );
    assert!(std::fs::read(dir.path().join("disk.raw")).unwrap() == raw_disk());
}

#[tokio::test]
async fn a_server_without_ranges_starts_over() {
    let (dir, server) = (tempfile::tempdir().unwrap(), server().await);
    server.serves(Serves::Half);
    server.fetch(dir.path()).await.unwrap_err();
    server.serves(Serves::Whole);
    server.fetch(dir.path()).await.unwrap();
    assert!(std::fs::read(dir.path().join("disk.raw")).unwrap() == raw_disk());
}

#[tokio::test]
async fn an_unknown_length_is_no_hindrance() {
    let (dir, server) = (tempfile::tempdir().unwrap(), server().await);
    server.serves(Serves::Unmeasured);
    assert_eq!(server.fetch(dir.path()).await.unwrap().form, raw_in(dir.path()));
}

#[tokio::test]
async fn a_wrong_checksum_and_a_missing_one_are_said() {
    let dir = tempfile::tempdir().unwrap();
    let server = ImageServer::of(raw_disk(), format!("{}  disk.img\n", "0".repeat(64))).await;
    let failure = server.fetch(dir.path()).await.unwrap_err();
    assert!(failure.message.contains("its checksum is"), "{failure}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let server = ImageServer::of(raw_disk(), "<html>".to_owned()).await;
    let failure = server.fetch(dir.path()).await.unwrap_err();
    assert!(failure.message.contains("has no SHA-256 or SHA-512 of disk.img"), "{failure}");
}

#[tokio::test]
async fn what_is_fetched_but_no_image_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let server = ImageServer::of(vec![7; 70_000], String::new()).await;
    let failure = images()
        .fetch(
            dir.path(),
            &server.url("disk.img"),
            &Checksum::Unchecked,
            ENOUGH,
            &|_| {},
            &CommandLog::default(),
        )
        .await
        .unwrap_err();
    let begins = format!("{} is no disk image: neither qcow2", server.url("disk.img"));
    assert!(failure.message.starts_with(&begins), "{failure}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_is_too_big_is_not_fetched_and_its_part_is_kept() {
    let (dir, server) = (tempfile::tempdir().unwrap(), server().await);
    server.serves(Serves::Huge);
    let failure = server.fails(dir.path(), ENOUGH, Limits::default()).await;
    assert!(failure.message.contains("is bigger than 1 GiB"), "{failure}");
    assert!(!failure.passing && std::fs::read_dir(dir.path()).unwrap().count() == 0);
    server.serves(Serves::Endless);
    let failure = server.fails(dir.path(), 1 << 20, Limits::default()).await;
    assert!(failure.message.contains("relaunch with a greater max_gib"), "{failure}");
    let part = std::fs::metadata(dir.path().join("fetch.partial")).unwrap().len();
    assert!(part > 0 && part <= 1 << 20, "{part}");
}

#[tokio::test]
async fn a_filesystem_is_not_filled_to_its_last_byte() {
    let (dir, server) = (tempfile::tempdir().unwrap(), server().await);
    server.serves(Serves::Unmeasured);
    let failure = server.fails(dir.path(), ENOUGH, no_room()).await;
    assert!(
        failure.message.contains("stay free for everything else; free some space"),
        "{failure}"
    );
    let source = dir.path().join("source");
    std::fs::write(&source, raw_disk()).unwrap();
    let images = images().within(no_room());
    let log = CommandLog::default();
    let made = images.import(&dir.path().join("image"), &source, None, &|_| {}, &log).await;
    // Unless the filesystem can clone it, which takes no room.
    if let Err(failure) = made {
        assert!(failure.message.contains("stay free for everything else"), "{failure}");
    }
}

/// There is room when the download begins, and after some of it there is none.
#[tokio::test]
async fn a_download_ends_before_it_has_taken_the_last_room() {
    const LEFT: u64 = 48 << 20;
    let (dir, server) = (tempfile::tempdir().unwrap(), server().await);
    server.serves(Serves::Endless);
    let found = rustix::fs::statvfs(dir.path()).unwrap();
    let reserve = HeadRoom { most: found.f_bavail * found.f_frsize - LEFT, part: 1 };
    let limits = Limits { reserve, ..Limits::default() };
    let failure = server.fails(dir.path(), 64 << 30, limits).await;
    assert!(failure.message.contains("stay free for everything else"), "{failure}");
    assert!(!failure.no_room, "a download is not begun again and again");
    let part = std::fs::metadata(dir.path().join("fetch.partial")).unwrap().len();
    assert!(part >= 16 << 20, "{part}");
}

#[tokio::test]
async fn a_server_that_sends_next_to_nothing_is_given_up() {
    let (dir, server) = (tempfile::tempdir().unwrap(), server().await);
    server.serves(Serves::Drops);
    let each = Duration::from_millis(200);
    let limits = Limits { least: 1_000_000, each, ..Limits::default() };
    let failure = server.fails(dir.path(), ENOUGH, limits).await;
    assert!(failure.passing && failure.message.contains("so slowly"), "{failure}");
    assert!(dir.path().join("fetch.partial").exists());
}

#[tokio::test]
async fn what_was_fetched_unchecked_is_not_taken_for_what_was_checked() {
    let (dir, server) = (tempfile::tempdir().unwrap(), server().await);
    let (url, log) = (server.url("disk.img"), CommandLog::default());
    let fetch = async |checksum: &Checksum| {
        images().fetch(dir.path(), &url, checksum, ENOUGH, &|_| {}, &log).await
    };
    fetch(&Checksum::Unchecked).await.unwrap();
    let failure = fetch(&Checksum::Sha256("0".repeat(64))).await.unwrap_err();
    assert!(failure.message.contains("its checksum is"), "{failure}");
}

async fn import(dir: &Path, source: &Path, initrd: Option<&Path>) -> Result<MadeImage, Failure> {
    images().import(&dir.join("image"), source, initrd, &|_| {}, &CommandLog::default()).await
}

/// Makes a qcow2 with qemu-img.
fn qcow2(dir: &Path, name: &str, more: &[&str]) -> PathBuf {
    let path = dir.join(name);
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2"])
        .args(more)
        .arg(&path)
        .arg("20M")
        .status();
    assert!(made.unwrap().success());
    path
}

#[tokio::test]
async fn every_sort_of_image_is_imported() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let made = import(dir.path(), &qcow2(dir.path(), "a", &[]), None).await.unwrap();
    assert!(matches!(made.form, ImageForm::Disk { format: DiskFormat::Qcow2, .. }), "{made:?}");
    assert_eq!(made.virtual_bytes, 20 << 20);

    std::fs::write(at("raw"), raw_disk()).unwrap();
    let made = import(dir.path(), &at("raw"), None).await.unwrap();
    assert_eq!((made.form, made.sha256), (raw_in(&at("image")), sha256(&raw_disk())));

    let mut iso = vec![0; 0x9000];
    iso[0x8001..0x8006].copy_from_slice(b"CD001");
    std::fs::write(at("iso"), iso).unwrap();
    let made = import(dir.path(), &at("iso"), None).await.unwrap();
    assert_eq!(made.form, ImageForm::Iso { path: at("image/disk.iso") });

    let mut kernel = vec![0; 0x1000];
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    std::fs::write(at("kernel"), kernel).unwrap();
    let failure = import(dir.path(), &at("kernel"), None).await.unwrap_err();
    assert!(failure.message.contains("name its initrd too"), "{failure}");
    let made = import(dir.path(), &at("kernel"), Some(&at("raw"))).await.unwrap();
    assert!(matches!(made.form, ImageForm::Direct { .. }), "{made:?}");
}

#[tokio::test]
async fn an_initrd_that_has_become_a_pipe_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut kernel = vec![0; 0x1000];
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    std::fs::write(at("kernel"), kernel).unwrap();
    assert!(Command::new("mkfifo").arg(at("initrd")).status().unwrap().success());
    // Nobody ever writes into it: whoever opens it as a file waits for ever.
    let importing = import(dir.path(), &at("kernel"), Some(&at("initrd"))).await;
    let failure = importing.unwrap_err();
    assert!(failure.message.contains("no regular file"), "{failure}");
}

#[tokio::test]
async fn what_is_no_image_or_names_other_files_is_not_imported() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("letter"), "Dear operator").unwrap();
    let base = qcow2(dir.path(), "base", &[]);
    let overlay = qcow2(dir.path(), "over", &["-F", "qcow2", "-b", base.to_str().unwrap()]);
    let data = format!("data_file={}", at("data").display());
    let split = qcow2(dir.path(), "split", &["-o", &data]);
    for (path, why) in [
        (at("letter"), "neither qcow2"),
        (overlay, "it is an overlay of another file"),
        (split, "its data is in another file"),
        (dir.path().to_owned(), "it is no regular file"),
    ] {
        let failure = import(dir.path(), &path, None).await.unwrap_err();
        let begins = format!("{} is no disk image: {why}", path.display());
        assert!(failure.message.starts_with(&begins), "{failure}");
    }
    assert!(!at("image").exists());
}
