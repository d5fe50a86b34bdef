//! A database or its log that is taken away from under the writer: nothing is acknowledged any
//! more.

use super::super::known::KnownPath;
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
