//! Ten seeds, and those that once found something.

use super::{Breach, Figures, simulate};

fn run(seed: u64, operations: u64) -> Figures {
    let broken = |Breach { what, after, .. }| {
        panic!(
            "{what}\nrepeat it: cargo run --release --example simulate -- --seed {seed} \
             --operations {operations} (it fails after {after})"
        )
    };
    simulate(seed, operations, false).unwrap_or_else(broken)
}

#[test]
fn ten_seeds_find_nothing() {
    for seed in 1..=10 {
        let figures = run(seed, 1000);
        assert!(figures.lives > 3 && figures.ended >= 900, "too little happens: {figures:?}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    assert_eq!(run(11, 500), run(11, 500));
    assert_ne!(run(11, 500).trace, run(12, 500).trace);
}
