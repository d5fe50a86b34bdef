//! A full disk, and a store that another program has locked: said when it comes and when it goes,
//! and looked after in between.

use std::sync::Arc;
use std::time::Duration;

use super::core::Engine;
use super::storage::Health;
use crate::domain::Fact;

/// How often is looked whether there is room again.
const AGAIN: Duration = Duration::from_secs(5);

/// Waits for a full disk and for room again, until the backend leaves. Nothing is started
/// meanwhile; afterwards the work goes on.
pub(super) async fn wait_for_room(engine: Arc<Engine>) {
    tokio::select! {
        biased;
        () = engine.paused() => {}
        () = look_after(&engine) => {}
    }
}

async fn look_after(engine: &Arc<Engine>) {
    let storage = &engine.storage;
    let (mut health, place, needed) = (storage.health(), storage.place(), storage.needed_mib());
    loop {
        if health.changed().await.is_err() {
            return;
        }
        match &*health.borrow_and_update() {
            Health::Full | Health::Locked => {}
            Health::Dead(_) => continue,
            // It was full for a moment only; what was not started then is started now.
            Health::Well => {
                engine.dispatch();
                continue;
            }
        }
        let is_full = *health.borrow() == Health::Full;
        let message = if is_full {
            format!(
                "the disk is full under {place}: nothing new is accepted or started until \
                 {needed} MiB are free; what runs can be cancelled"
            )
        } else {
            format!(
                "another program holds a lock on the store under {place}: nothing can be written \
                 until it ends that; what runs waits"
            )
        };
        engine.events.publish(Fact::Notice { message });
        let waits = |health: &Health| matches!(health, Health::Full | Health::Locked);
        while waits(&health.borrow_and_update()) {
            tokio::select! {
                biased;
                _ = health.changed() => {}
                () = engine.clock.until(engine.clock.now() + AGAIN) => {
                    // It looks for room whenever it is asked for anything.
                    let _ = storage.send(Vec::new()).await;
                }
            }
        }
        if !matches!(&*health.borrow(), Health::Well) {
            continue;
        }
        let again = if is_full { "there is room on the disk" } else { "the store can be written" };
        let message = format!("{again} under {place} again: the work goes on");
        engine.events.publish(Fact::Notice { message });
        engine.dispatch();
    }
}
