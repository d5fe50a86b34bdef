//! A database or its log that is taken away from under the writer: nothing is acknowledged any
//! more.

use super::super::checkpoint::{Mode, checkpoint};
use super::super::known::{KnownLog, KnownPath};
use super::*;

#[tokio::test]
async fn a_lost_log_is_noticed_before_anything_is_acknowledged() {
    type Lose = fn(&Path);
    let cases: [(&str, &str, Lose); 4] = [
        ("taken away", "in the database now", |log| std::fs::remove_file(log).unwrap()),
        ("replaced", "as it was", |log| {
            let copy = log.with_extension("copy");
            std::fs::copy(log, &copy).unwrap();
            std::fs::rename(&copy, log).unwrap();
        }),
        ("cut short", "as it was", |log| {
            std::fs::File::options().write(true).open(log).unwrap().set_len(0).unwrap();
        }),
        ("cut short", "as it was", |log| {
            let file = std::fs::File::options().write(true).open(log).unwrap();
            file.set_len(file.metadata().unwrap().len() - 1).unwrap();
        }),
    ];
    for (became, advice, lose) in cases {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path()).unwrap();
        let writer = store.writer();
        writer.send(vec![insert(&operation(1))]).await.unwrap();
        store.read(reader::count).await.unwrap();
        let log = dir.path().join(format!("{FILE}-wal"));
        lose(&log);
        let error = writer.send(vec![insert(&operation(2))]).await.unwrap_err().to_string();
        for said in [became, advice, log.to_str().unwrap()] {
            assert!(error.contains(said), "{became}: {error}");
        }
        store.close().await.unwrap();
        let last = Store::open(dir.path()).unwrap().1.last_uid;
        if became == "taken away" {
            assert_eq!(last, 1, "what was acknowledged is in the database");
        }
    }
}

#[tokio::test]
async fn a_database_that_is_cut_short_is_noticed_before_anything_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let writer = store.writer();
    writer.send(vec![insert(&operation(1))]).await.unwrap();
    let database = std::fs::File::options().write(true).open(dir.path().join(FILE)).unwrap();
    database.set_len(0).unwrap();
    let error = writer.send(vec![insert(&operation(2))]).await.unwrap_err().to_string();
    assert!(error.contains("was cut short while hostler was using it"), "{error}");
    let dead = store.broken().await.to_string();
    assert_eq!(dead, error);
}

#[test]
fn a_lost_database_is_not_to_be_mixed_with_the_log_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    std::fs::write(&path, "").unwrap();
    let known = KnownPath::at("database", &path).unwrap();
    assert!(known.lost().is_none());
    std::fs::remove_file(&path).unwrap();
    let said = known.lost().unwrap().to_string();
    for ending in ["-wal", "-shm"] {
        assert!(said.contains(&format!("{}{ending}", path.display())), "{said}");
    }
    assert!(said.contains("as it was") && said.contains("remove"), "{said}");
}

#[tokio::test]
async fn a_log_that_somebody_elses_checkpoint_emptied_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let writer = store.writer();
    writer.send(vec![insert(&operation(1))]).await.unwrap();
    let somebody = Connection::open(dir.path().join(FILE)).unwrap();
    assert!(!checkpoint(&somebody, Mode::Truncate).unwrap().is_busy);
    let log = std::fs::metadata(dir.path().join(format!("{FILE}-wal"))).unwrap();
    assert_eq!(log.len(), 0);
    writer.send(vec![insert(&operation(2))]).await.unwrap();
    store.close().await.unwrap();
    drop(somebody);
    assert_eq!(Store::open(dir.path()).unwrap().1.last_uid, 2);
}

#[test]
fn a_log_that_is_gone_and_still_read_is_not_called_saved() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    let writer = Connection::open(&path).unwrap();
    writer.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (n)").unwrap();
    writer.busy_timeout(std::time::Duration::ZERO).unwrap();
    let mut log = KnownLog::of(&path).unwrap();
    assert!(log.lost(&writer).is_none());
    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM t").unwrap();
    writer.execute("INSERT INTO t VALUES (1)", []).unwrap();
    std::fs::remove_file(dir.path().join(format!("{FILE}-wal"))).unwrap();
    let said = log.lost(&writer).unwrap().to_string();
    assert!(said.contains("taken away") && said.contains("as it was"), "{said}");
}
