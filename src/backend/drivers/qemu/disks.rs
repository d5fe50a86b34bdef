//! Disks plugged into a running VM, and out again.
//!
//! QEMU guards little: it adds one image twice, and forgets to unplug while the guest boots. So
//! each call looks first, and unplugging is asked for until the device is seen to be gone.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::Machine;
use super::control::{ControlSocket, refused};
use super::qmp::QmpError;
use crate::backend::ports::{CommandLog, Drive, Guest};
use crate::domain::Failure;

/// How long a guest may take to let go of a disk.
const LET_GO: Duration = Duration::from_secs(60);
/// How long to wait for the guest before it is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Plugs a disk in, or finds it plugged in.
///
/// # Errors
/// When its image is in use, here or elsewhere, or is no disk.
pub async fn attach(guest: &Guest, drive: &Drive, log: &CommandLog) -> Result<(), Failure> {
    let mut control = ControlSocket::must(guest).await?;
    let device = &drive.device;
    let what = format!("attach {device} to vm/{}", guest.id);
    let nodes = nodes(&mut control).await?;
    let plugged = plugged(&mut control, device).await?;
    if let Some(node) = nodes.iter().find(|node| same_file(&node.file, &drive.path)) {
        if node.name != *device {
            return Err(Failure::new(format!(
                "cannot {what}: {} is attached to it already, as {}; detach that first",
                drive.path.display(),
                node.name
            )));
        }
        if plugged {
            return Ok(());
        }
    } else if nodes.iter().any(|node| node.name == *device) {
        return Err(Failure::new(format!(
            "cannot {what}: it has a disk of that name already; detach that first"
        )));
    } else {
        let file = json!({ "driver": "file", "filename": drive.path });
        let node = json!({
            "driver": drive.format.word(), "node-name": device, "discard": "unmap", "file": file,
        });
        let added = control.say(log, "blockdev-add", node).await;
        added.map_err(|error| in_use(&what, drive, &error))?;
    }
    let plug = json!({
        "driver": "scsi-hd", "bus": "scsi.0", "id": device, "drive": device, "serial": device,
    });
    if let Err(error) = control.say(log, "device_add", plug).await {
        // Half attached would be in the way of the next try; the first error is the one to tell.
        let _ = control.say(log, "blockdev-del", json!({ "node-name": device })).await;
        return Err(in_use(&what, drive, &error));
    }
    Ok(())
}

/// Unplugs a disk, or finds it gone.
///
/// # Errors
/// When the guest does not let go of it in a minute.
pub async fn detach(
    machine: &Machine,
    guest: &Guest,
    device: &str,
    log: &CommandLog,
) -> Result<(), Failure> {
    let what = format!("detach {device} from vm/{}", guest.id);
    let late = Instant::now() + LET_GO;
    loop {
        // Others have their turn at the control socket between two tries.
        let _turn = machine.control.lock().await;
        let mut control = ControlSocket::must(guest).await?;
        if !plugged(&mut control, device).await? {
            return forget(&mut control, device, &what, log).await;
        }
        if Instant::now() >= late {
            return Err(Failure::passing(format!(
                "cannot {what}: the guest has not let go of it for {} s; wait until it is up, or \
                 stop the VM, and relaunch",
                LET_GO.as_secs()
            )));
        }
        match control.say(log, "device_del", json!({ "id": device })).await {
            Ok(_) => {}
            // The guest is at it, or it was done at this very moment: both are seen next.
            Err(QmpError::Refused { class, desc })
                if class == "DeviceNotFound" || desc.contains("in the process of unplug") => {}
            Err(error) => return Err(refused(&what, &error)),
        }
        deleted(&mut control, device).await;
    }
}

/// Waits until a device is deleted, or it is time to ask again.
async fn deleted(control: &mut ControlSocket, device: &str) {
    let again = Instant::now() + ASK_AGAIN;
    while let Ok(Ok(event)) = timeout_at(again, control.qmp().event()).await {
        // It is told twice, for the device's path and for the device itself.
        if event.name == "DEVICE_DELETED" && event.data["device"] == device {
            return;
        }
    }
}

/// Closes the image of a device that is gone.
async fn forget(
    control: &mut ControlSocket,
    device: &str,
    what: &str,
    log: &CommandLog,
) -> Result<(), Failure> {
    if !nodes(control).await?.iter().any(|node| node.name == device) {
        return Ok(());
    }
    let deleted = control.say(log, "blockdev-del", json!({ "node-name": device })).await;
    deleted.map(drop).map_err(|error| refused(what, &error))
}

/// An image that QEMU has open.
struct Node {
    name: String,
    file: String,
}

/// The images that are open, those that were opened beneath another left out.
async fn nodes(control: &mut ControlSocket) -> Result<Vec<Node>, Failure> {
    let answer = control.ask("query-named-block-nodes", json!({ "flat": true })).await?;
    let text = |node: &Value, key: &str| node[key].as_str().unwrap_or_default().to_owned();
    let all = answer.as_array().into_iter().flatten();
    let nodes = all.map(|node| Node { name: text(node, "node-name"), file: text(node, "file") });
    // QEMU's own names begin with a '#'.
    Ok(nodes.filter(|node| !node.name.starts_with('#')).collect())
}

/// The ids of the devices that are plugged in.
///
/// # Errors
/// When QEMU cannot be asked.
pub async fn plugged_in(guest: &Guest) -> Result<BTreeSet<String>, Failure> {
    devices(&mut ControlSocket::must(guest).await?).await
}

/// The ids of the devices that are plugged in.
async fn devices(control: &mut ControlSocket) -> Result<BTreeSet<String>, Failure> {
    let devices = control.ask("qom-list", json!({ "path": "/machine/peripheral" })).await?;
    let names = devices.as_array().into_iter().flatten().filter_map(|it| it["name"].as_str());
    Ok(names.map(str::to_owned).collect())
}

/// Whether a device is plugged in.
async fn plugged(control: &mut ControlSocket, device: &str) -> Result<bool, Failure> {
    Ok(devices(control).await?.contains(device))
}

/// Whether two paths lead to one file.
fn same_file(one: &str, other: &Path) -> bool {
    match (std::fs::metadata(one), std::fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => Path::new(one) == other,
    }
}

fn in_use(what: &str, drive: &Drive, error: &QmpError) -> Failure {
    if error.to_string().contains("lock") {
        let path = drive.path.display();
        return Failure::new(format!(
            "cannot {what}: {path} is in use by another program or VM; detach it there first"
        ));
    }
    refused(what, error)
}
