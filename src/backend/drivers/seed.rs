//! The disk cloud-init reads on a VM's first boot: NoCloud, a small FAT labelled `CIDATA`.
//!
//! Format: <https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html>. The
//! documents are written as JSON, which is YAML: no name can break out of its quotes.

use std::fs::OpenOptions;
use std::io::{self, Cursor, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};
use serde_json::{Value, json};

use super::partial::Partial;
use crate::backend::ports::Seed;
use crate::domain::Failure;

/// Its size in bytes. cloud-init needs a few kilobytes of it.
const SEED_BYTES: usize = 2 << 20;

/// Makes the seed, readable by the owner alone. Blocks until the disk has it.
///
/// # Errors
/// When the disk is full, or the keys are more than fit.
pub fn make(path: &Path, seed: &Seed) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::small(format!("make {}", path.display()), &error);
    let volume = volume(&meta_data(seed), &user_data(seed)).map_err(failed)?;
    let partial = Partial::begin(path)?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(partial.file("seed"))
        .and_then(|mut file| file.write_all(&volume))
        .map_err(failed)?;
    partial.publish("seed")
}

/// The whole filesystem. Its label is in the root directory too: cloud-init does not find a
/// volume that has it in the boot sector alone.
fn volume(meta_data: &str, user_data: &str) -> io::Result<Vec<u8>> {
    let mut volume = Cursor::new(vec![0; SEED_BYTES]);
    fatfs::format_volume(&mut volume, FormatVolumeOptions::new().volume_label(*b"CIDATA     "))?;
    {
        let filesystem = FileSystem::new(&mut volume, FsOptions::new())?;
        let root = filesystem.root_dir();
        for (name, text) in [("meta-data", meta_data), ("user-data", user_data)] {
            let mut file = root.create_file(name)?;
            file.write_all(text.as_bytes())?;
            file.flush()?;
        }
    }
    Ok(volume.into_inner())
}

fn meta_data(seed: &Seed) -> String {
    yaml(&json!({ "instance-id": seed.instance_id, "local-hostname": seed.hostname }))
}

fn user_data(seed: &Seed) -> String {
    let user = json!({
        "name": seed.login,
        "sudo": "ALL=(ALL) NOPASSWD:ALL",
        "lock_passwd": false,
        // The second is for an account that the image has already.
        "passwd": seed.password_hash,
        "hashed_passwd": seed.password_hash,
        "ssh_authorized_keys": seed.ssh_keys,
    });
    // Not every distribution has bash, and an account with a missing shell is locked out.
    let bash = "if [ -x /bin/bash ]; then usermod -s /bin/bash \"$1\"; fi";
    let config = json!({
        "hostname": seed.hostname,
        "preserve_hostname": false,
        "manage_etc_hosts": true,
        "ssh_pwauth": true,
        "users": [user],
        "runcmd": [["sh", "-c", bash, "sh", seed.login]],
    });
    format!("#cloud-config\n{}", yaml(&config))
}

/// JSON that is YAML too: DEL and the C1 controls may stand in JSON, but not in YAML.
fn yaml(value: &Value) -> String {
    let mut text = String::new();
    for c in value.to_string().chars() {
        match c {
            '\u{7f}'..='\u{9f}' | '\u{feff}' => text += &format!("\\u{:04x}", u32::from(c)),
            c => text.push(c),
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed() -> Seed {
        Seed {
            instance_id: "vm-3-1".into(),
            hostname: "web-1".into(),
            login: "anna".into(),
            password_hash: "$6$salt$hash".into(),
            ssh_keys: vec!["ssh-ed25519 AAAA anna@desk".into()],
        }
    }

    #[test]
    fn names_cannot_break_out_of_their_quotes() {
        let strange = "a\"]}\nruncmd: [reboot]\n# \u{85}'\\";
        let text = user_data(&Seed { login: strange.into(), ..seed() });
        let document = text.strip_prefix("#cloud-config\n").unwrap();
        assert_eq!(document.lines().count(), 1, "{document}");
        let read: Value = serde_json::from_str(document).unwrap();
        assert_eq!(read["users"][0]["name"], strange);
        assert_eq!(read["runcmd"][0][4], strange);
        assert!(!document.contains('\u{85}'));
    }

    #[test]
    fn the_volume_holds_both_documents() {
        let volume = volume(&meta_data(&seed()), &user_data(&seed())).unwrap();
        let filesystem = FileSystem::new(Cursor::new(volume), FsOptions::new()).unwrap();
        let label = filesystem.read_volume_label_from_root_dir().unwrap();
        assert_eq!(label.as_deref(), Some("CIDATA"));
        let mut text = String::new();
        let mut file = filesystem.root_dir().open_file("meta-data").unwrap();
        io::Read::read_to_string(&mut file, &mut text).unwrap();
        assert_eq!(text, "{\"instance-id\":\"vm-3-1\",\"local-hostname\":\"web-1\"}\n");
    }

    #[test]
    fn too_many_keys_are_refused() {
        let ssh_keys = vec!["x".repeat(1000); 3000];
        assert!(volume("", &user_data(&Seed { ssh_keys, ..seed() })).is_err());
    }
}
