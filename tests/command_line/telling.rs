//! `hostler list`, `show` and `watch`: what is understood by a word, and how things are told to
//! people.

use std::process::ExitCode;
use std::sync::Arc;

use hostler::cli::{self, CliContext};
use hostler::domain::*;
use serde_json::json;

use super::fake::{self, Asked, ScriptedBackend};
use super::{Typist, detail, run};

/// The answer to a list: these rows, and no others.
pub(crate) fn page(rows: Vec<Resource>) -> Result<Answer> {
    let total = rows.len() as u64;
    Ok(Answer::Page(Page { total, offset: 0, rows: Rows::Resources(rows) }))
}

#[tokio::test]
async fn what_is_unambiguous_is_understood() {
    let fake = ScriptedBackend::new();
    for (line, of) in [
        ("list vm", Subject::Resources(Vm::KIND)),
        ("list disk", Subject::Resources(Disk::KIND)),
        ("list operation", Subject::Operations),
    ] {
        fake.will_answer(page(vec![]));
        run(&fake, line).await.with(0);
        let Some(Asked::Query(Query::List(list))) = fake.asked().pop() else { panic!("{line}") };
        assert_eq!(list.of, of);
    }
    fake.will_answer(Ok(Answer::Lanes(Vec::new())));
    run(&fake, "list lane").await.with(0);

    // A number alone is an operation's.
    fake.will_answer(detail(fake::operation(18, State::Done)));
    run(&fake, "show 18").await.with(0);
    assert_eq!(fake.asked().last(), Some(&Asked::Query(Query::Operation { uid: Uid(18) })));

    // A name alone is looked for among all kinds.
    let kinds = fake.catalogue().resources().len();
    let among_all = |found: &[(usize, Resource)]| {
        for place in 0..kinds {
            let here = found.iter().filter(|(at, _)| *at == place);
            fake.will_answer(page(here.map(|(_, it)| it.clone()).collect()));
        }
    };
    among_all(&[(0, fake::vm(3, "web-3"))]);
    let shown = || {
        fake.will_answer(Ok(Answer::Resource(Box::new(fake::vm(3, "web-3")))));
        // What its image is called.
        fake.will_answer(page(vec![]));
    };
    shown();
    let ended = run(&fake, "show web-3").await;
    assert!(ended.with(0).out.starts_with("vm/3 web-3\n"), "{}", ended.out);
    fake.will_answer(page(vec![fake::vm(3, "web-3")]));
    shown();
    run(&fake, "show vm/web-3").await.with(0);
    among_all(&[]);
    let ended = run(&fake, "show web-4").await;
    assert!(ended.with(1).err.contains("nothing is called 'web-4'"), "{}", ended.err);
    among_all(&[(0, fake::vm(3, "web")), (1, fake::vm(4, "web"))]);
    let ended = run(&fake, "show web").await;
    assert!(ended.with(2).err.contains("several are called 'web': vm/3, vm/4"), "{}", ended.err);
}

#[tokio::test]
async fn people_get_names_sizes_and_times_and_count_attempts_from_one() {
    let fake = ScriptedBackend::new();
    let disk: Resource = serde_json::from_value(json!({
        "resource": "disk", "id": 7, "name": "data", "state": "attached", "size_mb": 2048,
        "fstype": "ext4", "format": "qcow2", "path": "/d", "vm": 3,
        "created": "2026-01-02T03:04:05Z"
    }))
    .unwrap();
    fake.will_answer(page(vec![disk.clone()]));
    fake.will_answer(page(vec![fake::vm(3, "web-3")]));
    let ended = run(&fake, "list disks").await;
    let line = ended.with(0).out.lines().nth(1).unwrap();
    assert!(line.contains("2.0 GiB") && line.ends_with("web-3"), "{line}");
    // No more is asked for than what the rows refer to.
    let Some(Asked::Query(Query::List(names))) = fake.asked().pop() else { panic!("no names") };
    let three = json!({"column": "id", "from": {"Included": 3.0}, "to": {"Included": 3.0}});
    let filter = serde_json::to_value(&names.filter).unwrap();
    assert_eq!(filter, json!([{"not": false, "within": three}]));
    fake.will_answer(Ok(Answer::Resource(Box::new(disk))));
    fake.will_answer(page(vec![fake::vm(3, "web-3")]));
    let ended = run(&fake, "show disk/7").await;
    assert!(ended.with(0).out.contains("size             2.0 GiB\n"), "{}", ended.out);
    assert!(ended.out.contains("vm               web-3\n"), "{}", ended.out);
    assert!(!ended.out.contains("03:04:05Z") && ended.out.contains("2026-01-0"), "{}", ended.out);

    let mut failed = fake::operation(9, State::Error);
    failed.attempt = 1;
    let at = failed.created;
    let step = Step {
        attempt: 1,
        number: 1,
        name: "look".to_owned(),
        state: StepState::Failed,
        started: at,
        finished: None,
        error: None,
        commands: Vec::new(),
    };
    fake.will_answer(Ok(Answer::Operation(Box::new(OperationDetail {
        operation: failed,
        steps: vec![step],
        children: Vec::new(),
        more_children: 0,
    }))));
    let ended = run(&fake, "show 9").await;
    assert!(ended.with(0).out.contains("attempt          2\n"), "{}", ended.out);
    assert!(ended.out.contains("step 1 of attempt 2: look failed"), "{}", ended.out);
}

#[tokio::test]
async fn what_an_operation_was_asked_with_is_called_by_its_name() {
    let mut kinds: Vec<OperationSpec> = fake::catalogue().iter().cloned().collect();
    let of = |kind| FieldType::Resource { of: kind, states: Vec::new() };
    let disks = FieldType::List { of: Box::new(of(Disk::KIND)), min: 0, max: 4 };
    kinds.push(OperationSpec {
        kind: "vm_fit".into(),
        fields: vec![
            Field::required("vm", of(Vm::KIND), "The VM."),
            Field::required("disks", disks, "Its disks."),
        ],
        ..OperationSpec::default()
    });
    let fake = ScriptedBackend::with(Catalogue::new(kinds));
    let given = json!({ "vm": 3, "disks": [7, 8] });
    let fit = Operation {
        kind: "vm_fit".to_owned(),
        params: Arc::new(given.as_object().unwrap().clone()),
        ..fake::operation(9, State::Done)
    };
    // One list of each kind; the VM is gone by now.
    let lists = [vec![], vec![fake::disk(7, "data")]];
    let lists = || lists.iter().for_each(|rows| fake.will_answer(page(rows.clone())));
    fake.will_answer(detail(fit.clone()));
    lists();
    let told = run(&fake, "show 9").await.with(0).out.clone();
    let lines = ["params           vm=web-3", "disks.0=data", "disks.1=8"];
    assert!(told.contains(&lines.join("\n                   ")), "{told}");
    // Scripts get what was asked.
    fake.will_answer(detail(fit));
    assert_eq!(run(&fake, "show 9 --json").await.json()["operation"]["params"], given);
}

#[tokio::test]
async fn what_is_held_by_number_is_called_by_name_and_what_holds_more_takes_a_line_each() {
    let fake = ScriptedBackend::new();
    let Resource::Vm(mut vm) = fake::vm(3, "web-3") else { panic!("no VM") };
    (vm.image, vm.disks) = (1, vec![7, 8]);
    let port = json!({ "port": 8080, "guest": 80, "protocol": "tcp" });
    vm.ports = vec![serde_json::from_value(port).unwrap()];
    fake.will_answer(Ok(Answer::Resource(Box::new(Resource::Vm(vm)))));
    // The image is gone; of the disks one is.
    fake.will_answer(page(vec![fake::disk(7, "data")]));
    fake.will_answer(page(vec![]));
    let told = run(&fake, "show vm/3").await.with(0).out.clone();
    assert!(told.contains("disks            data\n                   disk/8\n"), "{told}");
    assert!(told.contains("image            image/1\n"), "{told}");
    assert!(told.contains("ports            port=8080 guest=80 protocol=tcp\n"), "{told}");

    let task: Resource = serde_json::from_value(json!({
        "resource": "task", "id": 1, "name": "nightly", "active": true, "kind": "vm_delete",
        "params": { "vm": 3 }, "repeat": { "hour": "3", "minute": "0" },
        "runs": [{ "due": "2026-01-02T03:04:05Z", "outcome": "queued", "uid": 9 }],
        "settled": "2026-01-02T03:04:05Z", "created": "2026-01-02T03:04:05Z"
    }))
    .unwrap();
    fake.will_answer(Ok(Answer::Resource(Box::new(task))));
    fake.will_answer(page(vec![fake::vm(3, "web-3")]));
    let told = run(&fake, "show task/1").await.with(0).out.clone();
    assert!(told.contains("params           vm=web-3\n"), "{told}");
    assert!(told.contains("                   hour=3\n"), "{told}");
    assert!(told.contains("outcome=queued uid=9 ") && !told.contains('{'), "{told}");
    assert!(!told.contains("05Z"), "{told}");
}

/// Units are those of the description, not what a name looks like.
#[tokio::test]
async fn what_no_column_describes_is_shown_as_it_is() {
    let fake = ScriptedBackend::new();
    let image: Resource = serde_json::from_value(json!({
        "resource": "image", "id": 1, "name": "tiny", "state": "ready", "label": "tiny",
        "source": "2026-01-02T03:04:05Z", "bytes": 2048, "virtual_bytes": 4096, "login": "root",
        "created": "2026-01-02T03:04:05Z"
    }))
    .unwrap();
    fake.will_answer(Ok(Answer::Resource(Box::new(image))));
    let told = run(&fake, "show image/1").await.with(0).out.clone();
    assert!(told.contains("size             2.0 KiB\n"), "{told}");
    assert!(told.contains("virtual          4.0 KiB\n"), "{told}");
    assert!(told.contains("source           2026-01-02T03:04:05Z\n"), "{told}");

    let mut made = fake::operation(1, State::Done);
    made.outcome = Some(Outcome::new("made", json!({ "two_bytes": 2 })));
    fake.will_answer(detail(made));
    let told = run(&fake, "show 1").await.with(0).out.clone();
    assert!(told.contains("two_bytes      2\n"), "{told}");
}

#[tokio::test]
async fn the_names_of_more_than_one_list_holds_are_found() {
    let fake = ScriptedBackend::new();
    let disk = |id: u64, vm: u64| -> Resource {
        serde_json::from_value(json!({
            "resource": "disk", "id": id, "name": format!("data-{id}"), "state": "attached",
            "size_mb": 8, "fstype": "ext4", "format": "qcow2", "path": "/d", "vm": vm,
            "created": "2026-01-02T03:04:05Z"
        }))
        .unwrap()
    };
    let last = u64::from(List::MOST) + 7;
    fake.will_answer(page(vec![disk(1, 1), disk(2, last)]));
    fake.will_answer(page((1..last - 6).map(|id| fake::vm(id, &format!("vm-{id}"))).collect()));
    fake.will_answer(page(vec![fake::vm(last, "the-last")]));
    let told = run(&fake, "list disks").await.with(0).out.clone();
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[1].ends_with("vm-1") && lines[2].ends_with("the-last"), "{told}");
}

#[tokio::test]
async fn an_empty_list_says_that_it_is() {
    let fake = ScriptedBackend::new();
    for (line, told) in [
        ("list vms", "there are no VMs\n"),
        ("list vms --filter state:running", "no VMs match 'state:running'\n"),
    ] {
        fake.will_answer(page(vec![]));
        let ended = run(&fake, line).await;
        assert_eq!((ended.with(0).out.as_str(), ended.err.as_str()), ("", told));
    }
    fake.will_answer(page(vec![]));
    let ended = run(&fake, "list vms --json").await;
    assert_eq!((ended.json()["total"].as_u64(), ended.err.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn children_that_are_not_shown_are_counted() {
    let fake = ScriptedBackend::new();
    fake.will_answer(Ok(Answer::Operation(Box::new(OperationDetail {
        operation: fake::operation(1, State::Run),
        steps: Vec::new(),
        children: vec![fake::operation(2, State::Run)],
        more_children: 41,
    }))));
    let told = run(&fake, "show 1").await.with(0).out.clone();
    assert!(told.contains("child #2") && told.contains("and 41 more children\n"), "{told}");
    assert!(told.lines().all(|line| line == line.trim_end()), "{told}");
}

/// What `hostler watch` tells of a story until its reader goes away, with these words behind it.
async fn watched(
    fake: &Arc<ScriptedBackend>,
    words: &[&str],
    lines: usize,
    story: impl Future,
) -> String {
    let words = ["hostler", "watch"].into_iter().chain(words.iter().copied());
    let parsed = cli::parse(&fake.catalogue(), words).unwrap();
    let mut out = Head { lines, seen: Vec::new() };
    let mut err = Vec::new();
    let session = CliContext {
        backend: fake.clone(),
        actor: String::new(),
        out: &mut out,
        err: &mut err,
        keyboard: &mut Typist::default(),
        columns: None,
        bar: false,
        read_only: true,
        nothing_because: None,
    };
    let (status, _) = tokio::join!(cli::run(parsed.command.unwrap(), session), story);
    assert_eq!(status, ExitCode::SUCCESS);
    String::from_utf8(out.seen).unwrap()
}

#[tokio::test]
async fn watching_tells_people_what_is_new() {
    let fake = ScriptedBackend::new();
    let story = async {
        // Before the beginning nothing was missed.
        while fake.tell(1, Fact::Missed) == 0 {
            tokio::task::yield_now().await;
        }
        let operation = |state| Fact::Operation(fake::operation(9, state).into());
        let mut seq = 1;
        let mut tell = |fact| {
            seq += 1;
            fake.tell(seq, fact);
        };
        tell(operation(State::Run));
        tell(operation(State::Run));
        tell(Fact::Missed);
        tell(operation(State::Done));
        tell(operation(State::Pending));
    };
    let text = watched(&fake, &[], 3, story).await;
    let told: Vec<&str> = text.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    assert!(told[0].contains("RUN") && told[1].contains("missed"), "{text}");
    assert!(told[2].contains("DONE"), "{text}");
}

#[tokio::test]
async fn watching_prints_one_line_for_each_event() {
    let fake = ScriptedBackend::new();
    let story = async {
        let notice = || Fact::Notice { message: "two\nlines".into() };
        while fake.tell(1, notice()) == 0 {
            tokio::task::yield_now().await;
        }
        for seq in 2..=4 {
            fake.tell(seq, notice());
        }
    };
    // The reader goes away after three lines, which ends the watch.
    let text = watched(&fake, &["--json"], 3, story).await;
    let seqs: Vec<u64> =
        text.lines().map(|line| serde_json::from_str::<Event>(line).unwrap().seq).collect();
    assert_eq!(seqs, [1, 2, 3]);
}

/// A reader that goes away after some lines.
struct Head {
    lines: usize,
    seen: Vec<u8>,
}

impl std::io::Write for Head {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.seen.iter().filter(|&&byte| byte == b'\n').count() == self.lines {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        self.seen.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
