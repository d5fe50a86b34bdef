//! One file per kind of operation: its parameters, its catalogue entry, its steps, its tests.
//!
//! A kind knows the ports, never the drivers. Adding one touches its new file and two lines
//! here: its `mod`, and its place in [`all`].

mod batch;
#[cfg(test)]
mod catalogue_tests;
mod children;
mod context;
mod demand;
mod disk_attach;
mod disk_create;
mod disk_delete;
mod disk_detach;
mod disk_purge;
mod disk_restore;
mod disks;
mod encode;
mod encoding_delete;
mod files;
mod forwards;
mod guests;
mod image_build;
mod image_delete;
mod image_fetch;
mod image_import;
mod images;
mod kind;
#[cfg(test)]
mod order_tests;
mod task_create;
mod task_delete;
mod task_run;
mod task_switch;
mod task_update;
mod timetable;
mod vm_create;
mod vm_delete;
mod vm_reboot;
mod vm_start;
mod vm_stop;

use std::collections::HashSet;

use super::settings::Settings;
pub use crate::backend::engine::journal::Stop;
use crate::domain::{Effect, OperationSpec};
pub use context::{Context, StepBuilder, StepContext};
pub use kind::{AdmissionContext, Kind, KindEntry};

/// Checks that kinds can stand in one catalogue: each has a word of its own, written as such words
/// are, and one that is about no resource says nothing of one.
///
/// # Errors
/// Says which cannot, and why.
pub fn check<'a>(kinds: impl IntoIterator<Item = &'a OperationSpec>) -> Result<(), String> {
    let may_stand = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let mut seen = HashSet::new();
    for OperationSpec { kind, resource, subject, effect, .. } in kinds {
        let begins = kind.starts_with(|first: char| first.is_ascii_lowercase());
        if !begins || !kind.bytes().all(may_stand) {
            return Err(format!(
                "'{kind}' is no word for a kind of operation; it may hold lower-case letters, \
                 digits and '_', and starts with a letter"
            ));
        }
        if !seen.insert(kind) {
            return Err(format!("there are two kinds of operation '{kind}'; call one otherwise"));
        }
        if resource.is_none() && (subject.is_some() || *effect != Effect::Changes) {
            return Err(format!(
                "the kind of operation '{kind}' is about no resource, so it makes none, deletes \
                 none and has no field that names one; say which it is about"
            ));
        }
    }
    Ok(())
}

/// Every kind hostler has, in the order of the catalogue.
#[must_use]
pub fn all(settings: &Settings) -> Vec<KindEntry> {
    vec![
        KindEntry::of::<vm_create::VmCreate>(settings),
        KindEntry::of::<vm_start::VmStart>(settings),
        KindEntry::of::<vm_stop::VmStop>(settings),
        KindEntry::of::<vm_reboot::VmReboot>(settings),
        KindEntry::of::<vm_delete::VmDelete>(settings),
        KindEntry::of::<disk_create::DiskCreate>(settings),
        KindEntry::of::<disk_attach::DiskAttach>(settings),
        KindEntry::of::<disk_detach::DiskDetach>(settings),
        KindEntry::of::<disk_delete::DiskDelete>(settings),
        KindEntry::of::<disk_restore::DiskRestore>(settings),
        KindEntry::of::<disk_purge::DiskPurge>(settings),
        KindEntry::of::<image_fetch::ImageFetch>(settings),
        KindEntry::of::<image_import::ImageImport>(settings),
        KindEntry::of::<image_build::ImageBuild>(settings),
        KindEntry::of::<image_delete::ImageDelete>(settings),
        KindEntry::of::<encode::Encode>(settings),
        KindEntry::of::<encoding_delete::EncodingDelete>(settings),
        KindEntry::of::<task_create::TaskCreate>(settings),
        KindEntry::of::<task_update::TaskUpdate>(settings),
        KindEntry::of::<task_switch::TaskEnable>(settings),
        KindEntry::of::<task_switch::TaskDisable>(settings),
        KindEntry::of::<task_run::TaskRun>(settings),
        KindEntry::of::<task_delete::TaskDelete>(settings),
        KindEntry::of::<batch::BatchOperation>(settings),
    ]
}
