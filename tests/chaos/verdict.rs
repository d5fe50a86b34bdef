//! What must be so when everything is at rest: nothing lost, nothing twice, nothing left over.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hostler::domain::{
    BackendError, BackendExt, Disk, Encoding, EncodingState, Image, Operation, OperationDetail,
    Resource, ResourceKind, State, StepState, Uid, Vm, VmState, question,
};
use hostler::wire::client::Client;

use super::arena::{Arena, Violations};
use super::load::{Ledger, RequestOutcome, operations, resources};
use super::tools::Start;

/// How long a tool may run on when nothing is in flight any more.
const LOOKING: Duration = Duration::from_secs(60);

/// Everything that is known at rest.
pub struct Rest {
    pub operations: Vec<Operation>,
    resources: Vec<Resource>,
    encodings: Vec<OperationDetail>,
}

impl Rest {
    /// Asks for all of it.
    pub async fn look(client: &Client) -> Result<Self, BackendError> {
        let operations = operations(client).await?;
        let mut found = Vec::new();
        for kind in ResourceKind::ALL {
            found.extend(resources(client, *kind).await?);
        }
        let mut encodings = Vec::new();
        for operation in operations.iter().filter(|it| it.kind == "encode") {
            let uid = operation.uid;
            encodings.push(*client.ask(question::GetOperation { uid }).await?);
        }
        Ok(Self { operations, resources: found, encodings })
    }

    /// Every acknowledged request is there once, under its number, and at its end; what was refused
    /// is not there; what was not answered is there once at most.
    pub fn compare(&self, ledger: &Ledger, findings: &Violations) {
        let mut marked: HashMap<&str, Vec<&Operation>> = HashMap::new();
        for operation in &self.operations {
            let mark = operation.actor.split(':').next().unwrap_or_default();
            // A child has its parent's actor, and nobody outside asked for it.
            let is_child = operation.parent.is_some();
            if mark.starts_with("chaos-") && !is_child {
                marked.entry(mark).or_default().push(operation);
            } else if !operation.actor.starts_with("task/") && !is_child {
                findings.add(format!("{} was asked for by {mark}", operation.uid));
            }
            if !operation.state.is_end() && operation.state != State::Error {
                let wait = operation.wait.as_ref().map(ToString::to_string).unwrap_or_default();
                findings.add(format!(
                    "{} {} is at rest, but {}: {wait}",
                    operation.uid, operation.kind, operation.state
                ));
            }
        }
        for (mark, (kind, told)) in &ledger.asked {
            let found = marked.remove(mark.as_str()).unwrap_or_default();
            let uids: Vec<Uid> = found.iter().map(|operation| operation.uid).collect();
            let is_well = match told {
                RequestOutcome::Accepted(uid) => uids == [*uid] && found[0].kind == *kind,
                RequestOutcome::Refused => uids.is_empty(),
                RequestOutcome::Nothing => uids.len() <= 1,
            };
            if !is_well {
                findings.add(format!("{mark} {kind} was told {told:?} and is there as {uids:?}"));
            }
        }
        for mark in marked.keys() {
            findings.add(format!("{mark} is there and was never asked for"));
        }
    }

    /// No tool ran twice at once on one thing, and none again for a step that was recorded.
    pub fn compare_starts(&self, arena: &Arena) {
        for line in arena.tools.twice() {
            arena.findings.add(format!("two at once: {line}"));
        }
        let mut by_output: HashMap<String, Vec<&OperationDetail>> = HashMap::new();
        for detail in &self.encodings {
            let output = detail.operation.params.get("output").and_then(|it| it.as_str());
            let output = output.map(number_of).unwrap_or_default();
            by_output.entry(output).or_default().push(detail);
        }
        let starts = arena.tools.starts();
        let is_named = |it: &Start| it.arguments.last().is_some_and(|it| it.contains("out-"));
        if self.encodings.iter().any(|it| it.operation.state == State::Done)
            && !starts.iter().any(|start| start.tool == "ffmpeg" && is_named(start))
        {
            arena.findings.add("ffmpeg's last argument names its output no more; mend the wrapper");
        }
        for start in starts.iter().filter(|start| start.tool == "ffmpeg") {
            let Some(output) = start.arguments.last().filter(|it| it.contains("out-")) else {
                continue;
            };
            // Two that were asked to write one output cannot be told apart here.
            let Some([detail]) = by_output.get(&number_of(output)).map(Vec::as_slice) else {
                continue;
            };
            let mut steps = detail.steps.iter().filter(|step| step.name == "encode");
            let recorded = |at: &jiff::Timestamp| at.as_nanosecond() < start.at;
            let of_attempt = steps
                .clone()
                .filter(|step| step.started.as_nanosecond() <= start.at)
                .map(|step| step.attempt)
                .max();
            let again = steps.any(|step| {
                Some(step.attempt) == of_attempt
                    && step.state == StepState::Done
                    && step.finished.as_ref().is_some_and(recorded)
            });
            if again {
                let uid = detail.operation.uid;
                arena.findings.add(format!("{uid} encoded again after that was recorded"));
            }
        }
    }

    /// Every guest that runs is a VM's that is said to run, and the other way round; no tool is
    /// left.
    pub fn compare_processes(&self, arena: &Arena) {
        let mut running: HashMap<String, usize> = HashMap::new();
        let is_guest = |(_, words): &(u32, Vec<String>)| words.iter().any(|it| it == "-uuid");
        // An owner that has just been started looks for its tools.
        let deadline = Instant::now() + LOOKING;
        while !arena.helpers().iter().all(is_guest) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        for (pid, words) in arena.helpers() {
            match words.iter().position(|word| word == "-uuid").and_then(|at| words.get(at + 1)) {
                Some(uuid) => *running.entry(uuid.clone()).or_default() += 1,
                None => arena.findings.add(format!("left over: {pid} {}", words.join(" "))),
            }
        }
        for resource in &self.resources {
            let Resource::Vm(vm) = resource else { continue };
            let guests = running.remove(&vm.uuid.to_string()).unwrap_or_default();
            let should = usize::from(matches!(vm.state, VmState::Running | VmState::Paused));
            if guests != should {
                let (id, state) = (vm.id, vm.state.word());
                arena.findings.add(format!("vm/{id} is {state} and has {guests} QEMUs"));
            }
        }
        for uuid in running.keys() {
            arena.findings.add(format!("a QEMU runs for {uuid}, which is no VM's"));
        }
    }

    /// Every file has a record, and every record its file. Looked at without hostler's own eyes.
    pub fn compare_files(&self, arena: &Arena) {
        let known = |kind| -> BTreeSet<u64> {
            let of_kind = self.resources.iter().filter(|it| it.kind() == kind);
            of_kind.map(|resource| resource.id().id).collect()
        };
        for (folder, kind) in [
            ("vms", Vm::KIND),
            ("disks", Disk::KIND),
            ("trash", Disk::KIND),
            ("images", Image::KIND),
            ("encodings", Encoding::KIND),
        ] {
            let known = known(kind);
            for name in names(&arena.state().join(folder)) {
                let digits = name.trim_start_matches('.');
                let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
                if !digits.parse().is_ok_and(|id| known.contains(&id)) {
                    arena.findings.add(format!("{folder}/{name} belongs to nobody"));
                }
            }
        }
        for resource in &self.resources {
            let file = match resource {
                Resource::Disk(disk) => disk.path.clone(),
                Resource::Vm(vm) => arena.state().join(format!("vms/{}/root.qcow2", vm.id)),
                Resource::Image(image) => arena.state().join(format!("images/{}", image.id)),
                Resource::Encoding(it) if it.state == EncodingState::Finished => it.output.clone(),
                _ => continue,
            };
            if !file.exists() {
                let (id, state) = (resource.id(), resource.state());
                arena.findings.add(format!("{id} is {state} without {}", file.display()));
            }
        }
        let done: BTreeSet<PathBuf> = self
            .encodings
            .iter()
            .filter(|detail| detail.operation.state == State::Done)
            .filter_map(|detail| detail.operation.params.get("output")?.as_str().map(Into::into))
            .collect();
        for name in names(&arena.media()) {
            let path = arena.media().join(&name);
            if !name.starts_with("clip") && !done.contains(&path) {
                arena.findings.add(format!("{} was not encoded to its end", path.display()));
            }
        }
        for folder in [arena.state(), arena.media()] {
            for path in below(&folder) {
                if path.to_string_lossy().contains("partial") {
                    arena.findings.add(format!("{} was begun and left", path.display()));
                }
            }
        }
    }
}

/// hostler's own deep check, where this hostler has one.
pub fn doctor(arena: &Arena) {
    let run = |arguments: &[&str]| {
        let output = arena.command().args(arguments).output().expect("hostler runs");
        (output.status, String::from_utf8_lossy(&output.stdout).into_owned())
    };
    if !run(&["doctor", "--help"]).1.contains("--deep") {
        eprintln!("  hostler doctor has no --deep yet");
        return;
    }
    let (status, said) = run(&["doctor", "--deep", "--json"]);
    if !status.success() {
        arena.findings.add(format!("hostler doctor --deep: {status}: {said}"));
    }
}

/// The number of an output: of `out-17.mp4`, 17.
fn number_of(output: &str) -> String {
    let after = output.rsplit("out-").next().unwrap_or_default();
    after.chars().take_while(char::is_ascii_digit).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|file| file.is_dir()) {
                folders.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found
}
