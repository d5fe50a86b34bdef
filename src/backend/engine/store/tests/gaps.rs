//! Numbers that no operation has: every window shows each operation once all the same.

use super::super::*;
use super::{insert, operation};
use crate::domain::{Filter, List, Subject};

/// The numbers in all windows of two, the highest first, and how many there are said to be.
fn shown(connection: &Connection) -> (Vec<u64>, u64) {
    let mut shown = Vec::new();
    loop {
        let list = List {
            of: Subject::Operations,
            filter: Filter::default(),
            sort: None,
            offset: shown.len() as u64,
            limit: 2,
            around: None,
        };
        let (total, _, rows) = reader::operations(connection, &list).unwrap();
        if rows.is_empty() {
            return (shown, total);
        }
        shown.extend(rows.iter().map(|row| row.uid.0));
    }
}

#[tokio::test]
async fn a_request_that_was_not_written_shifts_no_window() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let writer = store.writer();
    let mut sent = Vec::new();
    for uid in 1..=9 {
        // What is sent together is written or refused together: there is an operation 1.
        let again = [5, 6, 8].contains(&uid).then(|| insert(&operation(1)));
        sent.push(writer.send([insert(&operation(uid))].into_iter().chain(again).collect()));
    }
    for (uid, answer) in (1..).zip(sent) {
        assert_eq!(answer.await.is_ok(), ![5, 6, 8].contains(&uid), "#{uid}");
    }
    let numbers = store.read(|store| Ok(shown(store))).await.unwrap();
    assert_eq!(numbers, (vec![9, 7, 4, 3, 2, 1], 6));
}

/// Those that an older hostler left.
#[test]
fn missing_numbers_are_found_when_the_store_is_brought_to_this_version() {
    let mut connection = Connection::open_in_memory().unwrap();
    apply(&mut connection, &MIGRATIONS[..2], 0).unwrap();
    for uid in [2, 3, 6, 7, 9] {
        let sql = "INSERT INTO operation (uid, kind, state, params, actor, priority, attempt, \
                   cancelling, created) VALUES (?1, 'vm_start', 2, '{}', 'root', 0, 0, 0, 0)";
        connection.execute(sql, [uid]).unwrap();
    }
    migrate(&mut connection, 2, Path::new("memory")).unwrap();
    assert_eq!(shown(&connection), (vec![9, 7, 6, 3, 2], 5));
}
