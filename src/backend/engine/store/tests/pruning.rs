//! What is pruned is the oldest, and nothing that something hangs on; what it took is given back.

use std::collections::BTreeSet;

use rusqlite::Connection;

use super::super::*;
use super::{insert, operation};
use crate::domain::State;

/// Operations 1 to `last`: every tenth is open, and #21 is the parent of #30, which is open.
async fn aged(store: &Store, last: u64) {
    let changes = (1..=last).map(|uid| {
        let state = if uid % 10 == 0 { State::Error } else { State::Done };
        let parent = (uid == 30).then_some(Uid(21));
        let row = Operation { state, parent, ..operation(uid) };
        insert(&row)
    });
    store.writer().send(changes.collect()).await.unwrap();
    let ended = "UPDATE operation SET finished = created + 500 WHERE state = 2";
    let file = Connection::open(store.place() + "/" + FILE).unwrap();
    file.execute_batch(ended).unwrap();
}

async fn prune(store: &Store, retention: &prune::Retention) -> Vec<u64> {
    let mut pruned = Vec::new();
    loop {
        let retention = retention.clone();
        let next = store.read(move |store| prune::next(store, &retention)).await.unwrap();
        let Some(prune::Prunable { uids, up_to }) = next else { return pruned };
        pruned.extend(uids.iter().map(|uid| uid.0));
        store.writer().send(vec![Change::Prune { uids, up_to }]).await.unwrap();
    }
}

#[tokio::test]
async fn the_oldest_go_and_none_that_something_hangs_on() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    aged(&store, 40).await;
    let mut retention =
        prune::Retention { keep: 25, ended_before: None, spared: [Uid(3)].into_iter().collect() };
    let gone = prune(&store, &retention).await;
    assert_eq!(gone, [1, 2, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17], "by their number");
    assert_eq!(store.read(reader::count).await.unwrap(), 25);
    assert_eq!(prune(&store, &retention).await, [0; 0]);

    // 24 and 25 ended before that, and 26 after.
    retention.ended_before = Some(operation(26).created);
    assert_eq!(prune(&store, &retention).await, [18, 19, 22, 23, 24, 25], "by their age");
    // Its child ends, and nothing names the other any more.
    let file = Connection::open(dir.path().join(FILE)).unwrap();
    file.execute_batch("UPDATE operation SET state = 4, finished = created WHERE uid = 30")
        .unwrap();
    retention.spared.clear();
    assert_eq!(prune(&store, &retention).await, [3, 21]);
    assert_eq!(store.read(reader::count).await.unwrap(), 17);
    store.close().await.unwrap();

    // All that ended may go, and no number comes again.
    let (store, _) = Store::open(dir.path()).unwrap();
    retention.keep = 0;
    prune(&store, &retention).await;
    store.read(|store| store.execute_batch("DELETE FROM operation")).await.unwrap();
    store.close().await.unwrap();
    assert_eq!(Store::open(dir.path()).unwrap().1.last_uid, 40);
}

#[tokio::test]
async fn what_is_not_used_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    aged(&store, 5000).await;
    let keep = prune::Retention { keep: 600, ended_before: None, spared: BTreeSet::default() };
    prune(&store, &keep).await;
    store.close().await.unwrap();
    let mut before: Vec<_> =
        dir.path().read_dir().unwrap().map(|it| it.unwrap().file_name()).collect();
    let compacted = compact(dir.path()).unwrap();
    assert!(compacted.after * 3 < compacted.before, "{compacted:?}");
    let file = std::fs::metadata(dir.path().join(FILE)).unwrap();
    assert_eq!(file.len(), compacted.after);
    let mut after: Vec<_> =
        dir.path().read_dir().unwrap().map(|it| it.unwrap().file_name()).collect();
    before.sort();
    after.sort();
    assert_eq!(before, after);
    let (store, opened) = Store::open(dir.path()).unwrap();
    assert_eq!((opened.last_uid, opened.operations.len()), (5000, 500));
    assert_eq!(store.read(reader::count).await.unwrap(), 600);
}
