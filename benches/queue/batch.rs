//! What it costs that operations are children of one: to ask for them, and to see all of them done.

use std::time::Instant;

use hostler::backend::operations::{self, KindEntry};
use hostler::backend::settings::Settings;
use hostler::domain::{Backend, Submit};

use super::{ended, fresh, median, no_op, runtime, settled, start, submits};

/// Operations asked for one by one, and as one batch.
const BATCH_SIZE: u64 = 1000;
/// Rounds, one after the other on one backend.
const BATCH_ROUNDS: usize = 9;

/// The kind that asks for several as one.
pub fn kind(settings: &Settings) -> Option<KindEntry> {
    operations::all(settings).into_iter().find(|entry| entry.spec.kind == Submit::BATCH)
}

/// A batch of operations that do nothing.
fn batch() -> Submit {
    let one = || Submit { kind: "no_op".into(), actor: "bench".into(), ..Submit::default() };
    Submit::batch((0..BATCH_SIZE).map(|_| one()).collect(), false, None)
}

pub fn measure() {
    let (mut single, mut together) = (vec![], vec![]);
    let (dir, runtime) = (fresh(), runtime());
    runtime.block_on(async {
        let backend = start(dir.path());
        settled(&backend).await;
        for _ in 0..BATCH_ROUNDS {
            let clock = Instant::now();
            submits(&backend, BATCH_SIZE, no_op).await;
            ended(&backend).await;
            single.push(clock.elapsed().as_secs_f64());
            let clock = Instant::now();
            backend.submit(batch()).await.expect("accepted");
            ended(&backend).await;
            together.push(clock.elapsed().as_secs_f64());
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    let (single, together) = (median(single), median(together));
    println!("{BATCH_SIZE} operations to DONE:    {:>9.1} ms", single * 1000.0);
    println!("as the children of one:       {:>9.1} ms", together * 1000.0);
    println!("ratio:                        {:>9.2}    (at most 1.30)", together / single);
}
