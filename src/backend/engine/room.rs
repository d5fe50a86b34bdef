//! A full disk: said when it comes and when it goes, and looked after in between.

use std::sync::Arc;
use std::time::Duration;

use super::store::{FREE_MIB, Health};
use crate::domain::Fact;

use super::Engine;

/// How often is looked whether there is room again.
const AGAIN: Duration = Duration::from_secs(5);

/// Waits for a full disk and for room again, until the backend leaves. Nothing is started meanwhile;
/// afterwards the work goes on.
pub(in crate::backend) async fn wait_for_room(engine: Arc<Engine>) {
    tokio::select! {
        () = engine.pausing.cancelled() => {}
        () = look_after(&engine) => {}
    }
}

async fn look_after(engine: &Arc<Engine>) {
    let mut health = engine.store.writer().health();
    let dir = engine.settings().state_dir.display();
    loop {
        if health.changed().await.is_err() {
            return;
        }
        match &*health.borrow_and_update() {
            Health::Full => {}
            Health::Dead(_) => continue,
            // It was full for a moment only; what was not started then is started now.
            Health::Well => {
                engine.dispatch();
                continue;
            }
        }
        let message = format!(
            "the disk is full under {dir}: nothing new is accepted or started until {FREE_MIB} MiB \
             are free; what runs can be cancelled"
        );
        engine.events.publish(Fact::Notice { message });
        let full = |health: &Health| *health == Health::Full;
        while full(&health.borrow_and_update()) {
            let clock = &engine.ports.clock;
            tokio::select! {
                _ = health.changed() => {}
                () = clock.until(clock.now() + AGAIN) => {
                    // The writer looks for room whenever it is asked for anything.
                    let _ = engine.store.writer().send(Vec::new()).await;
                }
            }
        }
        if !matches!(&*health.borrow(), Health::Well) {
            continue;
        }
        let message = format!("there is room on the disk under {dir} again: the work goes on");
        engine.events.publish(Fact::Notice { message });
        engine.dispatch();
    }
}
