//! People: they ask for operations, call them off, ask again, change priorities and lanes, and hang
//! up when they please. Parts of the backend lease things, and prune what has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value as Json, json};

use crate::backend::engine::Engine;
use crate::domain::{BackendError, Control, LaneChange, Params, State, Submit, Uid};

use super::families;
use super::ground::Ground;
use super::kinds::LANE_WIDTHS;

/// How many operations are open before people look after those first.
const OPEN: usize = 40;

/// How many things there are before some are removed.
const THINGS: u64 = 12;

/// Everybody who asks for anything.
#[derive(Clone)]
pub(super) struct People {
    ground: Arc<Ground>,
    engine: Arc<Engine>,
    /// How many operations were accepted.
    accepted: Arc<AtomicU64>,
}

impl People {
    pub(super) const fn new(
        ground: Arc<Ground>,
        engine: Arc<Engine>,
        accepted: Arc<AtomicU64>,
    ) -> Self {
        Self { ground, engine, accepted }
    }

    /// Somebody asks for something.
    pub(super) fn act(&self) {
        let chance = &self.ground.chance;
        let open: Vec<(Uid, State)> =
            self.engine.look(|live| live.operations().map(|it| (it.uid, it.state)).collect());
        let failed: Vec<Uid> =
            open.iter().filter(|it| it.1 == State::Error).map(|(uid, _)| *uid).collect();
        let any = chance.one_of(&open).map(|(uid, _)| uid);
        match chance.number(0, 100) {
            0..70 if open.len() < OPEN => self.submit(),
            0..80 => {
                if let Some(uid) = chance.one_of(&failed) {
                    if chance.happens(400) {
                        self.relaunch(uid);
                    } else {
                        self.control(Control::Cancel { uid });
                    }
                } else if let Some(uid) = any {
                    self.control(Control::Cancel { uid });
                }
            }
            80..85 => {
                if let Some(uid) = any {
                    self.control(Control::Cancel { uid });
                }
            }
            85..90 => {
                if let Some(uid) = any {
                    let priority = i32::try_from(chance.number(0, 20)).unwrap_or(0) - 10;
                    self.control(Control::Priority { uid, priority });
                }
            }
            90..94 => self.lease(),
            94 => self.prune(),
            _ => self.change_lane(),
        }
    }

    /// Opens every lane again.
    pub(super) fn open_lanes(&self) {
        for (name, _) in LANE_WIDTHS {
            let change = LaneChange::Resume;
            self.control(Control::Lane { name: name.to_owned(), change });
        }
    }

    /// Calls an operation off.
    pub(super) fn cancel(&self, uid: Uid) {
        self.control(Control::Cancel { uid });
    }

    /// Asks for an operation again.
    pub(super) fn relaunch(&self, uid: Uid) {
        self.control(Control::Relaunch { uid, params: Params::new() });
    }

    fn submit(&self) {
        let chance = &self.ground.chance;
        let things: Vec<u64> = self.engine.inventory(|inventory| {
            inventory.of(self.ground.thing).map(|thing| thing.id().id).collect()
        });
        let full = things.len() as u64 >= THINGS;
        let (one, other) = (chance.one_of(&things), chance.one_of(&things));
        let (kind, params) = match (chance.number(0, 100), one, other) {
            (0..20, ..) | (_, None, _) if !full => {
                let name = format!("thing-{}", chance.number(0, 1_000_000));
                ("make", json!({ "name": name }))
            }
            (0..30, Some(one), _) => ("remove", json!({ "thing": one })),
            (30..45, Some(one), _) => ("look", json!({ "thing": one })),
            (45..65, Some(one), _) => ("change", json!({ "thing": one })),
            (65..80, Some(one), Some(other)) => ("copy", json!({ "thing": one, "other": other })),
            (80..85, ..) => ("fire", json!({})),
            (85..90, ..) => ("tick", json!({})),
            _ => match families::request(chance, &things, true) {
                Some(family) => return self.ask_for(family),
                None => return,
            },
        };
        let Json::Object(params) = params else { return };
        self.ask_for(Submit { kind: kind.to_owned(), params, ..Submit::default() });
    }

    /// Asks for an operation, with a key perhaps, or for one that was asked for with a key before.
    fn ask_for(&self, submit: Submit) {
        let chance = &self.ground.chance;
        let priority = i32::try_from(chance.number(0, 5)).unwrap_or(0);
        let mut submit = Submit { priority, ..submit };
        match chance.number(0, 10) {
            0 => submit = self.ground.outside().again(chance).unwrap_or(submit),
            1 | 2 => submit.key = Some(chance.number(0, 1_000_000).to_string()),
            _ => {}
        }
        if submit.key.is_some() {
            self.ground.outside().remember(&submit);
        }
        let it = self.clone();
        self.ask(async move {
            it.ground.verdict.note((), || format!("asked for: {submit:?}"));
            let key = submit.key.clone();
            let uid = it.engine.submit(submit).await?.uid;
            let platter = it.ground.platter();
            let kept = platter.operation(uid).is_some() || platter.is_pruned(uid);
            it.promised(kept, || format!("{uid} is accepted"));
            let mut outside = it.ground.outside();
            let is_new = match key {
                Some(key) => outside.answered(&key, uid, &platter),
                None => Ok(true),
            };
            drop((platter, outside));
            if is_new.as_ref().is_ok_and(|is_new| *is_new) {
                it.accepted.fetch_add(1, Ordering::Relaxed);
            }
            it.ground.verdict.check(is_new.map(drop));
            Ok(())
        });
    }

    /// What ended long ago is forgotten.
    fn prune(&self) {
        let it = self.clone();
        tokio::spawn(async move {
            let prunable = it.ground.platter().prunable();
            it.ground.sleep(2000).await;
            if let Some(change) = prunable {
                // What cannot be pruned now is pruned another time.
                let _ = it.engine.storage.send(vec![change]).await;
            }
        });
    }

    fn control(&self, control: Control) {
        let it = self.clone();
        self.ask(async move {
            it.ground.verdict.note((), || format!("asked for: {control:?}"));
            let asked = control.clone();
            let uid = match &control {
                Control::Cancel { uid } | Control::Relaunch { uid, .. } => *uid,
                _ => Uid(0),
            };
            let before = it.engine.look(|live| live.operation(uid).map(|it| it.attempt));
            it.engine.control(control).await?;
            let platter = it.ground.platter();
            let stored = platter.operation(uid);
            let kept = match (&asked, stored, before) {
                (Control::Cancel { .. }, Some(stored), Some(attempt)) => {
                    stored.cancelling
                        || stored.attempt != attempt
                        || !matches!(stored.state, State::Pending | State::Run)
                }
                (Control::Relaunch { .. }, Some(stored), Some(attempt)) => stored.attempt > attempt,
                _ => true,
            };
            it.promised(kept, || format!("{asked:?} is done, and the disk has {stored:?}"));
            Ok(())
        });
    }

    fn change_lane(&self) {
        let chance = &self.ground.chance;
        let Some((name, _)) = chance.one_of(&LANE_WIDTHS) else { return };
        let change = match chance.number(0, 10) {
            0 => LaneChange::Pause,
            1 => LaneChange::Drain,
            2..4 => LaneChange::Width(u32::try_from(chance.number(1, 5)).unwrap_or(1)),
            _ => LaneChange::Resume,
        };
        self.control(Control::Lane { name: name.to_owned(), change });
    }

    fn lease(&self) {
        let chance = &self.ground.chance;
        let things: Vec<u64> = self.engine.inventory(|inventory| {
            inventory.of(self.ground.thing).map(|thing| thing.id().id).collect()
        });
        let Some(id) = chance.one_of(&things).map(|id| self.ground.id(id)) else { return };
        let it = self.clone();
        tokio::spawn(async move {
            let Some(lease) = it.engine.lease(id) else { return };
            it.ground.verdict.note(id.id, || format!("{id} is leased"));
            it.ground.outside().lease(id, true);
            it.ground.sleep(2000).await;
            it.ground.outside().lease(id, false);
            if it.ground.chance.happens(500) {
                let (name, state) = (lease.resource().name(), lease.resource().state());
                let changed = it.ground.thing(id.id, name, state);
                // What cannot be written stays as it was, which is looked at elsewhere.
                let _ = lease.put(changed).await;
            }
        });
    }

    /// What is answered is on the disk.
    fn promised(&self, kept: bool, what: impl FnOnce() -> String) {
        if !kept {
            self.ground.verdict.breach(format!("not on the disk: {}", what()));
        }
    }

    /// Somebody waits for an answer, or hangs up before that. What is refused is refused.
    fn ask(&self, asked: impl Future<Output = Result<(), BackendError>> + Send + 'static) {
        let ground = self.ground.clone();
        tokio::spawn(async move {
            let hangs_up = ground.chance.happens(100);
            let answered = tokio::select! {
                biased;
                answered = asked => answered,
                () = ground.sleep(3000), if hangs_up => Ok(()),
            };
            ground.verdict.note(answered.is_ok(), || format!("answered: {answered:?}"));
        });
    }
}
