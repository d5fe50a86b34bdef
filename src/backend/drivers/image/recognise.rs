//! What a file is by its content: names and servers are not believed.
//!
//! Nothing here lets QEMU open a file first: a qcow2 may name other files of the box that QEMU
//! would then read, so its header is looked at by ourselves.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::domain::Failure;
use crate::file;

/// What an image file may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// A QEMU copy-on-write disk that stands for itself.
    Qcow2 {
        /// Its size as a guest sees it, in bytes.
        virtual_bytes: u64,
    },
    /// The bytes of a disk: with a boot sector, a partition table or a filesystem.
    Raw,
    /// A CD or DVD.
    Iso,
    /// A Linux kernel.
    Kernel,
}

/// Looks at a file.
///
/// # Errors
/// `<path> is no disk image: <why>` in one sentence.
pub(super) fn recognise(path: &Path) -> Result<Content, Failure> {
    let found = match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => Err("it is no regular file".to_owned()),
        Ok(_) => file::open(path)
            .and_then(|file| look(file).map_err(io::Error::other))
            .map_err(|error| error.to_string()),
        Err(error) => return Err(Failure::io(format!("read {}", path.display()), &error)),
    };
    found.map_err(|why| Failure::new(format!("{} is no disk image: {why}", path.display())))
}

/// Signatures at fixed places, in the order they are looked for. A CD may carry a boot sector too.
const SIGNATURES: &[(u64, &[u8], Content)] = &[
    (0x8001, b"CD001", Content::Iso),
    (0x202, b"HdrS", Content::Kernel),
    (0x200, b"EFI PART", Content::Raw),
    (0x1000, b"EFI PART", Content::Raw),
    (0x1FE, b"\x55\xAA", Content::Raw),
    (0x438, b"\x53\xEF", Content::Raw),
    (0, b"XFSB", Content::Raw),
    (0x10040, b"_BHRfS_M", Content::Raw),
    (0x8000, b"JFS1", Content::Raw),
    (0x10034, b"ReIsEr", Content::Raw),
];

/// Packed files people try first.
const PACKED: &[(&[u8], &str, &str)] = &[
    (b"\x1F\x8B", "gzip", "gunzip"),
    (b"\xFD7zXZ", "xz", "unxz"),
    (b"\x28\xB5\x2F\xFD", "zstd", "unzstd"),
    (b"BZh", "bzip2", "bunzip2"),
    (b"PK\x03\x04", "zip", "unzip"),
];

fn look(mut file: impl Read + Seek) -> Result<Content, String> {
    let mut at = |place: u64, length: usize| -> Result<Vec<u8>, String> {
        file.seek(SeekFrom::Start(place)).map_err(|error| error.to_string())?;
        let mut bytes = Vec::new();
        file.by_ref().take(length as u64).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        Ok(bytes)
    };
    let head = at(0, 512)?;
    if head.is_empty() {
        return Err("it is empty".to_owned());
    }
    if head.starts_with(b"QFI\xFB") {
        return qcow2(&head);
    }
    if let Some((_, name, tool)) = PACKED.iter().find(|(magic, ..)| head.starts_with(magic)) {
        return Err(format!("it is packed with {name}; unpack it with {tool} first"));
    }
    for (place, signature, sort) in SIGNATURES {
        if at(*place, signature.len())? == *signature {
            return Ok(*sort);
        }
    }
    Err("neither qcow2, nor raw with something on it, nor ISO".to_owned())
}

/// Looks at the header of a qcow2, see QEMU's `docs/interop/qcow2.txt`.
fn qcow2(header: &[u8]) -> Result<Content, String> {
    let word = |at: usize| -> Result<u32, String> {
        let bytes = header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_be_bytes).ok_or_else(|| "it breaks off".to_owned())
    };
    let long = |at| Ok::<u64, String>(u64::from(word(at)?) << 32 | u64::from(word(at + 4)?));
    if long(8)? != 0 {
        return Err(
            "it is an overlay of another file; flatten it with `qemu-img convert -O qcow2` first"
                .to_owned(),
        );
    }
    if word(32)? != 0 {
        return Err("it is encrypted; decrypt it with `qemu-img convert` first".to_owned());
    }
    // Bit 2 of the incompatible features, which came with version 3: the data is in another file.
    if word(4)? >= 3 && long(72)? & 1 << 2 != 0 {
        return Err(
            "its data is in another file; join them with `qemu-img convert -O qcow2` first"
                .to_owned(),
        );
    }
    Ok(Content::Qcow2 { virtual_bytes: long(24)? })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn noise_and_packed_files_are_told_apart() {
        assert!(look(Cursor::new(vec![7; 100_000])).unwrap_err().starts_with("neither"));
        assert_eq!(look(Cursor::new(vec![])).unwrap_err(), "it is empty");
        let xz = look(Cursor::new(b"\xFD7zXZ\0...".to_vec())).unwrap_err();
        assert_eq!(xz, "it is packed with xz; unpack it with unxz first");
    }

    #[test]
    fn a_cd_with_a_boot_sector_is_a_cd() {
        let mut bytes = vec![0; 0x9000];
        bytes[0x1FE..0x200].copy_from_slice(b"\x55\xAA");
        assert_eq!(look(Cursor::new(bytes.clone())).unwrap(), Content::Raw);
        bytes[0x8001..0x8006].copy_from_slice(b"CD001");
        assert_eq!(look(Cursor::new(bytes)).unwrap(), Content::Iso);
    }

    #[test]
    fn a_qcow2_that_names_other_files_is_refused() {
        let mut header = vec![0; 512];
        header[..8].copy_from_slice(b"QFI\xFB\0\0\0\x03");
        header[30] = 1;
        assert_eq!(qcow2(&header).unwrap(), Content::Qcow2 { virtual_bytes: 256 });
        header[79] = 4;
        assert!(qcow2(&header).unwrap_err().contains("in another file"));
        header[15] = 1;
        assert!(qcow2(&header).unwrap_err().contains("an overlay"));
        assert_eq!(
            qcow2(&header[..20]).unwrap_err(),
            "it is an overlay of another file; flatten it \
             with `qemu-img convert -O qcow2` first"
        );
        assert_eq!(qcow2(&header[..10]).unwrap_err(), "it breaks off");
    }
}
