//! What the store promises: files it refuses stay as they are, windows show what a naive search
//! finds, a full disk loses nothing that was acknowledged, a damaged row costs that row alone.

mod gaps;
mod lost;
mod pruning;

use jiff::Timestamp;
use proptest::prelude::*;
use rusqlite::Connection;

use crate::domain::{Filter, List, Operation, Outcome, Sort, State, Subject, Uid};

use super::change::Statements;
use super::fault::Faults;
use super::*;

fn operation(uid: u64) -> Operation {
    Operation {
        uid: Uid(uid),
        kind: "vm_start".into(),
        state: State::Pending,
        params: Arc::default(),
        resource: Some("vm/3".parse().unwrap()),
        resource_name: Some("web_3".into()),
        actor: "console:root".into(),
        priority: 0,
        attempt: 0,
        cancelling: false,
        past_pivot: false,
        comment: None,
        created: Timestamp::from_second(1_700_000_000 + uid as i64).unwrap(),
        started: None,
        finished: None,
        updated: Timestamp::from_second(1_700_000_000 + uid as i64).unwrap(),
        parent: None,
        outcome: None,
        progress: None,
        wait: None,
    }
}

fn is_full(store: &Store) -> bool {
    *store.health().borrow() == Health::Full
}

fn insert(operation: &Operation) -> Change {
    Change::Insert { operation: Arc::new(operation.clone()), params: Arc::default(), keyed: None }
}

#[test]
fn a_new_file_is_brought_to_the_newest_version_and_opens_again() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let (_, opened) = Store::open(dir.path()).unwrap();
        assert_eq!(opened.last_uid, 0);
    }
    let file = Connection::open(dir.path().join(FILE)).unwrap();
    let pragma = |name| file.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(pragma("user_version"), MIGRATIONS.len() as i64);
    assert_eq!(pragma("application_id"), i64::from(APPLICATION_ID));
}

/// A crash while the file was made leaves a rollback journal, without which it is damaged.
#[tokio::test]
async fn a_journal_that_a_crash_left_is_rolled_back_and_one_that_is_none_stays() {
    let (dir, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Store::open(dir.path()).unwrap().0.close().await.unwrap();
    let journal = format!("{FILE}-journal");
    let file = Connection::open(dir.path().join(FILE)).unwrap();
    file.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(())).unwrap();
    // With so little of it in memory, half of what is being written is in the file already.
    file.pragma_update(None, "cache_size", 1).unwrap();
    file.execute_batch(
        "BEGIN; CREATE TABLE half (it);
         WITH RECURSIVE row (at) AS (SELECT 1 UNION ALL SELECT at + 1 FROM row WHERE at < 2000)
         INSERT INTO half SELECT randomblob(100) FROM row;",
    )
    .unwrap();
    for name in [FILE, &journal] {
        std::fs::copy(dir.path().join(name), crashed.path().join(name)).unwrap();
    }
    let left = std::fs::read(crashed.path().join(&journal)).unwrap();
    assert!(left.starts_with(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"), "{:?}", left.get(..8));
    let (store, _) = Store::open(crashed.path()).unwrap();
    let tables = |name: &str| {
        let query = "SELECT count(*) FROM sqlite_schema WHERE name = ?1";
        store.ask(|it| it.query_row(query, [name], |row| row.get::<_, i64>(0))).unwrap()
    };
    assert_eq!((tables("half"), tables("step")), (0, 1));
    assert!(!crashed.path().join(&journal).exists());

    let foreign = tempfile::tempdir().unwrap();
    std::fs::write(foreign.path().join(&journal), "dear all").unwrap();
    let said = Store::open(foreign.path()).err().unwrap().to_string();
    assert!(said.contains(&journal) && said.contains("move it away"), "{said}");
    assert_eq!(std::fs::read(foreign.path().join(&journal)).unwrap(), b"dear all");
    let beside = foreign.path().join(BESIDE);
    std::fs::remove_file(foreign.path().join(&journal)).unwrap();
    Store::open(foreign.path()).unwrap().0.close().await.unwrap();
    std::fs::write(&beside, "dear all").unwrap();
    assert!(compact(foreign.path()).unwrap_err().to_string().contains(BESIDE));
    assert_eq!(std::fs::read(&beside).unwrap(), b"dear all");
}

#[tokio::test]
async fn what_version_1_wrote_is_read_with_the_moment_of_its_last_change() {
    let dir = tempfile::tempdir().unwrap();
    let mut connection = Connection::open(dir.path().join(FILE)).unwrap();
    apply(&mut connection, &MIGRATIONS[..1], 0).unwrap();
    for (uid, started, finished) in [(1, "NULL", "NULL"), (2, "20", "NULL"), (3, "20", "30")] {
        let sql = format!(
            "INSERT INTO operation (uid, kind, state, params, actor, priority, attempt, \
             cancelling, created, started, finished) \
             VALUES ({uid}, 'vm_start', 2, '{{}}', 'console:root', 0, 0, 0, 10, {started}, \
             {finished})"
        );
        connection.execute_batch(&sql).unwrap();
    }
    drop(connection);
    let (store, _) = Store::open(dir.path()).unwrap();
    for (uid, updated) in [(1, 10), (2, 20), (3, 30)] {
        let read = store.operation(Uid(uid)).await.unwrap().unwrap();
        assert_eq!(read.updated.as_millisecond(), updated);
        assert_eq!((read.parent, read.outcome), (None, None));
    }
}

#[tokio::test]
async fn an_operation_is_read_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let mut written = operation(2);
    written.parent = Some(Uid(1));
    store.writer().send(vec![insert(&written)]).await.unwrap();
    assert_eq!(store.operation(Uid(2)).await.unwrap().as_ref(), Some(&written));

    written.state = State::Done;
    written.finished = Some(Timestamp::from_second(1_800_000_000).unwrap());
    written.updated = Timestamp::from_second(1_800_000_001).unwrap();
    written.outcome = Some(Outcome {
        message: "made 'web_3'".to_owned(),
        data: serde_json::json!({ "size": 7 }),
    });
    let end = Change::SetState {
        uid: written.uid,
        state: written.state,
        comment: None,
        started: None,
        finished: written.finished,
        outcome: written.outcome.clone(),
        updated: written.updated,
    };
    store.writer().send(vec![end]).await.unwrap();
    assert_eq!(store.operation(Uid(2)).await.unwrap(), Some(written));
}

#[tokio::test]
async fn closing_leaves_one_whole_file() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    store.writer().send_unanswered(vec![insert(&operation(1))]);
    // Keeps a connection of its own for the next question.
    store.read(reader::count).await.unwrap();
    for _ in 0..2 {
        store.close().await.unwrap();
        let mut files: Vec<_> =
            dir.path().read_dir().unwrap().map(|file| file.unwrap().file_name()).collect();
        files.sort();
        assert_eq!(files, [FILE, RESERVE]);
    }
    store.writer().send(vec![insert(&operation(2))]).await.unwrap_err();
    store.read(reader::count).await.unwrap_err();
    assert_eq!(Store::open(dir.path()).unwrap().1.last_uid, 1);
}

#[tokio::test]
async fn what_is_sent_just_before_the_end_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let sent: Vec<_> =
        (1..=50).map(|uid| store.writer().send(vec![insert(&operation(uid))])).collect();
    store.close().await.unwrap();
    for sent in sent {
        sent.await.unwrap();
    }
    assert_eq!(Store::open(dir.path()).unwrap().1.last_uid, 50);
}

#[test]
fn a_file_that_is_not_ours_is_refused_and_stays_as_it_is() {
    for (sql, says) in [
        ("CREATE TABLE theirs (a)", "another program"),
        ("PRAGMA application_id = 7", "another program"),
        ("CREATE TABLE theirs (a); PRAGMA user_version = 1", "another program"),
        ("PRAGMA application_id = 0x6873746c; PRAGMA user_version = 99", "newer hostler"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let before = std::fs::read(&path).unwrap();
        let error = Store::open(dir.path()).err().unwrap().to_string();
        assert!(error.contains(says), "{sql}: {error}");
        assert!(std::fs::read(&path).unwrap() == before, "{sql}: the file was changed");
    }
}

#[test]
fn a_damaged_file_is_told_in_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join(FILE),
        "this is no database, but long enough to be one".repeat(20),
    )
    .unwrap();
    let error = Store::open(dir.path()).err().unwrap().to_string();
    assert!(error.contains("move it away"), "{error}");
}

#[tokio::test]
async fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    Store::open(dir.path()).unwrap().0.close().await.unwrap();
    let path = dir.path().join(FILE);
    let connection = connect(&path).unwrap();
    connection.pragma_update(None, "max_page_count", 24).unwrap();
    let writer = Writer::start(connection, path.clone()).unwrap();
    let mut acknowledged = 0;
    let error = loop {
        let mut next = operation(acknowledged + 1);
        next.actor = "x".repeat(3000);
        match writer.send(vec![insert(&next)]).await {
            Ok(()) => acknowledged += 1,
            Err(error) => break error.to_string(),
        }
    };
    assert!(acknowledged > 0 && error.contains("the disk is full"), "{error}");
    drop(writer);
    let (_, opened) = Store::open(dir.path()).unwrap();
    assert_eq!(opened.operations.len() as u64, acknowledged);
}

#[tokio::test]
async fn a_damaged_row_is_told_and_left_out_and_the_rest_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let disk = |id: u64| {
        let disk = serde_json::json!({
            "resource": "disk", "id": id, "name": format!("d{id}"), "state": "free", "size_mb": 1,
            "fstype": "none", "format": "qcow2", "path": "/x", "vm": null,
            "created": "2026-01-01T00:00:00Z", "trashed": null,
        });
        Change::Put(Arc::new(serde_json::from_value(disk).unwrap()))
    };
    let (store, _) = Store::open(dir.path()).unwrap();
    let changes = vec![insert(&operation(1)), insert(&operation(2)), disk(1), disk(2), disk(3)];
    store.writer().send(changes).await.unwrap();
    store.close().await.unwrap();
    let sql = "UPDATE operation SET params = 'nonsense' WHERE uid = 1; \
               UPDATE resource SET doc = '{' WHERE id = 1; \
               UPDATE resource SET doc = replace(doc, '\"id\":2', '\"id\":3') WHERE id = 2; \
               INSERT INTO lane VALUES ('vm', 2, 77)";
    Connection::open(dir.path().join(FILE)).unwrap().execute_batch(sql).unwrap();
    for _ in 0..2 {
        let (store, opened) = Store::open(dir.path()).unwrap();
        let uids: Vec<_> = opened.operations.iter().map(|it| it.uid.0).collect();
        let resources: Vec<_> = opened.resources.iter().map(|it| it.id().to_string()).collect();
        assert_eq!((uids, resources), (vec![2], vec!["disk/3".to_owned()]));
        assert_eq!(opened.last_uid, 2);
        let rows: Vec<_> = opened.damaged.iter().map(|it| &*it.row).collect();
        assert_eq!(rows, ["operation #1", "disk/1", "disk/2", "lane 'vm'"]);
        assert_eq!(damaged(dir.path()).unwrap(), opened.damaged);
        // It is seen in lists, and hides nothing else.
        let found = store.read(|it| reader::operation(it, Uid(1))).await.unwrap().unwrap();
        assert!(found.comment.unwrap().contains("damaged"));
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_reserve_lets_ends_be_written_on_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let (writer, faults) = (store.writer(), Faults::of(&dir.path().join(FILE)));
    let reserve = dir.path().join(RESERVE);
    let allocated = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&reserve).unwrap());
    assert!(allocated * 512 >= 4 << 20);
    writer.send(vec![insert(&operation(1))]).await.unwrap();
    // New work is refused, and does not take the room that ends will need.
    faults.plan(Some(Fault { at: 0, times: 1, how: How::Full }));
    let error = writer.send(vec![insert(&operation(2))]).await.unwrap_err().to_string();
    assert!(error.contains("nothing new") && is_full(&store), "{error}");
    assert!(reserve.is_file());
    // A refusal is told before its transaction is over: only the next answer says that it is.
    writer.send(vec![Change::Count("disk", 1)]).await.unwrap();
    faults.plan(Some(Fault { at: 0, times: 2, how: How::Full }));
    let stand = |state| Change::SetState {
        uid: Uid(1),
        state,
        comment: None,
        started: None,
        finished: None,
        outcome: None,
        updated: Timestamp::UNIX_EPOCH,
    };
    // It needs the room of the reserve, and gets it.
    writer.send(vec![stand(State::Cancel)]).await.unwrap();
    assert!(is_full(&store) && !reserve.exists());
    // Something else is where the reserve was: it cannot be made again.
    std::fs::create_dir(&reserve).unwrap();
    let error = writer.send(vec![insert(&operation(2))]).await.unwrap_err().to_string();
    assert!(error.contains("full") && error.contains("nothing new"), "{error}");
    writer.send(vec![stand(State::Error)]).await.unwrap();
    std::fs::remove_dir(&reserve).unwrap();
    writer.send(vec![insert(&operation(2))]).await.unwrap();
    assert!(!is_full(&store) && reserve.is_file());
}

#[tokio::test]
async fn a_writer_that_dies_says_so_and_keeps_nobody_waiting() {
    for how in [How::Panic, How::Broken] {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path()).unwrap();
        let (writer, faults) = (store.writer(), Faults::of(&dir.path().join(FILE)));
        writer.send(vec![insert(&operation(1))]).await.unwrap();
        // The last place of a transaction: it is on disk, and nobody knows.
        faults.plan(Some(Fault { at: 4, times: 1, how }));
        let mut health = writer.health();
        writer.send(vec![insert(&operation(2))]).await.unwrap_err();
        let dead = health.wait_for(|health| matches!(health, Health::Dead(_))).await.unwrap();
        let Health::Dead(why) = &*dead else { panic!("{dead:?}") };
        assert!(why.contains("start hostler again"), "{why}");
        drop(dead);
        writer.send(vec![insert(&operation(3))]).await.unwrap_err();
        store.close().await.unwrap();
        assert_eq!(Store::open(dir.path()).unwrap().1.last_uid, 2);
    }
}

fn filter() -> impl Strategy<Value = String> {
    let of_text = (
        prop::sample::select(vec!["kind", "state", "name", "resource", "actor"]),
        prop::sample::select(vec![":", "=", "!=", "~", "!~"]),
        prop::sample::select(vec![
            "VM_start", "vm", "run", "RUN", "E", "web_3", "WEB", "vm/1", "task", "Ü", "ü*", "[",
            "o%", "?", "^", "]", "-", "ß", "İ",
        ]),
    )
        .prop_map(|(column, sign, value)| match (column, sign) {
            // A state that there is not is refused before it gets here.
            ("state", ":" | "=" | "!=") if !value.eq_ignore_ascii_case("run") => {
                (column, sign, "Error")
            }
            _ => (column, sign, value),
        });
    let of_number = (
        prop::sample::select(vec!["uid", "id", "priority", "created", "finished", "updated"]),
        prop::sample::select(vec![":", "=", "!=", ">", ">=", "<", "<="]),
        prop::sample::select(vec!["0", "1", "-1", "5", "7", "7.5", "12"]),
    )
        .prop_map(|(column, sign, value)| match column {
            // The rows are of one minute of 2023.
            "created" | "finished" | "updated" => {
                (column, sign, format!("17000000{:02}", value.parse::<f64>().unwrap().abs() as u8))
            }
            _ => (column, sign, value.to_owned()),
        });
    let term = prop_oneof![
        prop::sample::select(vec![
            "vm",
            "DISK",
            "web_",
            "o%",
            "run",
            "e",
            "*",
            "ü",
            "#5",
            "5",
            "12",
            "created:2023-11-14",
            "created>2023-11-14T22:13",
            "finished<2023-11-14T22:14:25Z",
            "age>1d",
            "age<9w",
            "updated>2023-11-14T22:14:10Z",
            "updated<1h",
        ])
        .prop_map(str::to_owned),
        of_text.prop_map(|(column, sign, value)| format!("{column}{sign}{value}")),
        of_number.prop_map(|(column, sign, value)| format!("{column}{sign}{value}")),
    ];
    let term = (prop::sample::select(vec!["", "", "-", "!"]), term)
        .prop_map(|(not, term)| format!("{not}{term}"));
    prop::collection::vec(term, 0..3).prop_map(|terms| terms.join(" "))
}

prop_compose! {
    fn some_operation()(
        state in prop::sample::select(State::ALL.to_vec()),
        kind in prop::sample::select(vec!["vm_start", "vm_stop", "disk_create"]),
        name in prop::option::of(prop::sample::select(vec![
            "web_3", "webx3", "db", "Über*[?]^-.mov → webm", "ßİ", "",
        ])),
        resource in prop::option::of(prop::sample::select(vec!["vm/1", "disk/1"])),
        actor in prop::sample::select(vec!["console:root", "task/1"]),
        priority in -1..3i32,
    ) -> Operation {
        Operation {
            state,
            kind: kind.into(),
            resource: resource.map(|it| it.parse().unwrap()),
            resource_name: name.map(str::to_owned),
            actor: actor.into(),
            priority,
            ..operation(1)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_window_shows_what_a_naive_search_finds(
        rows in prop::collection::vec(some_operation(), 0..30),
        filters in prop::collection::vec(filter(), 8),
        offset in 0..20u64,
        limit in 1..12u32,
        around in prop::option::of(1..30u64),
        pruned in 0..30u64,
        stays in 1..5u64,
        missing in prop::collection::btree_set(1..30u64, 0..10),
        ascending in any::<bool>(),
    ) {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, 0, Path::new("memory")).unwrap();
        let pruned = pruned.min(rows.len() as u64);
        let up_to = rusqlite::params![numbers::PRUNED, pruned];
        connection.execute("INSERT INTO counter VALUES (?1, ?2)", up_to).unwrap();
        let rows: Vec<Operation> = rows
            .into_iter()
            .zip(1..)
            .filter(|(_, uid)| match *uid > pruned {
                true => !missing.contains(uid),
                false => uid % stays == 0,
            })
            .map(|(row, uid)| {
                let finished = row.state.is_end().then(|| operation(uid + 60).created);
                let updated = finished.unwrap_or_else(|| operation(uid + 7).created);
                let created = operation(uid).created;
                Operation { uid: Uid(uid), created, finished, updated, ..row }
            })
            .collect();
        let faults = Faults::default();
        let mut statements = Statements::prepare(&connection, &faults).unwrap();
        for row in &rows {
            statements.request(&[insert(row)]).unwrap().unwrap();
            connection.execute(
                "UPDATE operation SET finished = ?2 WHERE uid = ?1",
                rusqlite::params![row.uid.0, row.finished.map(row::time)],
            ).unwrap();
        }
        drop(statements);
        for filter in filters {
            let now = "2023-11-15T00:00Z[UTC]".parse().unwrap();
            let filter = Filter::parse(&filter, Subject::Operations, &now).unwrap();
            let mut naive: Vec<&Operation> = rows
                .iter()
                .filter(|row| filter.matches(Operation::columns(), |name| row.field(name)))
                .collect();
            if !ascending {
                naive.reverse();
            }
            let around = around.filter(|around| naive.iter().any(|row| row.uid.0 == *around));
            let sort = ascending.then(|| Sort { column: "uid".into(), descending: false });
            let of = Subject::Operations;
            let list = List { of, filter: filter.clone(), sort, offset, limit, around };
            let (total, at, found) = reader::operations(&connection, &list).unwrap();
            prop_assert_eq!(total, naive.len() as u64, "{:?}", filter);
            let window: Vec<Operation> = naive
                .iter()
                .skip(usize::try_from(at).unwrap())
                .take(limit as usize)
                .map(|row| (*row).clone())
                .collect();
            prop_assert_eq!(&found, &window, "{:?}", filter);
            match around {
                Some(around) => prop_assert!(found.iter().any(|row| row.uid.0 == around)),
                None => prop_assert_eq!(at, offset),
            }
        }
    }
}
