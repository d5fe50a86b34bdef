//! What it costs to filter and sort the resources of a box that has many.

use std::time::Instant;

use hostler::domain::{Answer, Backend, Filter, List, Query, Sort, Subject, Task};

use super::pending::prepared;
use super::{fresh, median, runtime};

/// Resources there are.
const ROWS: u64 = 10_000;
/// How many of them a large screen shows.
const SHOWN: u32 = 50;
/// How often they are asked for.
const ASKED_TIMES: usize = 101;

/// Measures, and says it.
pub fn measure() {
    let (dir, runtime) = (fresh(), runtime());
    let took = runtime.block_on(async {
        let backend = prepared(dir.path(), ROWS).await;
        let of = Subject::Resources(Task::KIND);
        // Each is looked into.
        let filter = Filter::parse("task-", of, &jiff::Zoned::now()).expect("a filter");
        let sort = Some(Sort { column: "name".to_owned(), descending: true });
        let list = List { of, filter, sort, offset: 0, limit: SHOWN, around: None };
        let mut times = Vec::with_capacity(ASKED_TIMES);
        for _ in 0..ASKED_TIMES {
            let clock = Instant::now();
            let answer = backend.query(Query::List(list.clone())).await.expect("an answer");
            times.push(clock.elapsed().as_secs_f64() * 1e3);
            let Answer::Page(page) = answer else { panic!("another answer") };
            assert_eq!(page.total, ROWS, "all of them match");
        }
        median(times)
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    println!("{ROWS} rows filtered and sorted: {took:>5.2} ms  (at most 5)");
}
