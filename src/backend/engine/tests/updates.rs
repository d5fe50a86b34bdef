//! New versions of resources meet: each follows from the one that is on the disk, whatever becomes
//! of those that are on their way there.

use std::sync::Arc;
use std::task::Poll;

use futures_util::poll;
use serde_json::json;

use super::children::{fails_to_make, things, world};
use super::world::{World, thing};
use crate::backend::engine::core::Committing;
use crate::backend::engine::notices::Notice;
use crate::backend::engine::storage::Changed;
use crate::domain::{
    BackendError, Control, Encoding, Params, Reason, Refusal, Resource, State, Submit, Uid,
};

/// Changes a resource on behalf of nobody, in its turn on the way to the disk.
fn send(world: &World, changed: Changed) -> impl Future<Output = Result<(), BackendError>> + use<> {
    let committing = Committing { changed: vec![changed], runs: None, makes: None };
    world.engine.transact(|live| committing.stage(live, Vec::new()))
}

/// The first thing with another name.
fn renamed(world: &World, name: &str) -> Resource {
    let mut thing = world.engine.inventory(|it| it.get::<Encoding>(1).unwrap().clone());
    name.clone_into(&mut thing.name);
    Resource::Encoding(thing)
}

fn name(world: &World) -> String {
    world.engine.inventory(|it| it.get::<Encoding>(1).unwrap().name.clone())
}

/// An operation that adds to the first thing once the test says so.
async fn adding() -> (World, Uid) {
    let world = world();
    things(&world, 1).await;
    let uid = world.stays_at("add", "add", json!({ "thing": 1 })).await;
    (world, uid)
}

/// A request for a new thing.
fn new_thing() -> Submit {
    let params = serde_json::from_value(json!({ "name": "new" })).unwrap();
    Submit { kind: "make".into(), params, ..Submit::default() }
}

/// Lets that go on, as far as it comes by itself.
async fn go_on(world: &World) {
    world.script.stop_at("nowhere");
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_update_of_what_is_gone_changes_nothing() {
    let (mut world, uid) = adding().await;
    send(&world, Changed::Remove(thing(1))).await.unwrap();
    go_on(&world).await;
    let ended = world.rest(uid).await.operation;
    assert_eq!(ended.state, State::Done, "{:?}", ended.comment);
    for _ in 0..2 {
        assert_eq!(world.state(thing(1)), None);
        world.crash(|_| {}).await;
    }
}

#[tokio::test]
async fn an_update_waits_to_see_whether_its_thing_stays() {
    let (world, uid) = adding().await;
    world.sql("CREATE TRIGGER no BEFORE DELETE ON resource BEGIN SELECT RAISE(ABORT, 'no'); END");
    let removal = send(&world, Changed::Remove(thing(1)));
    go_on(&world).await;
    assert_eq!(world.operation(uid).await.state, State::Run);
    removal.await.unwrap_err();
    assert_eq!(world.rest(uid).await.operation.state, State::Done);
    assert_eq!(name(&world), "thing-1+");
}

#[tokio::test]
async fn an_update_does_not_follow_from_what_never_comes_to_the_disk() {
    let (world, uid) = adding().await;
    world.sql(
        "CREATE TRIGGER no BEFORE INSERT ON operation WHEN NEW.kind = 'make' \
         BEGIN SELECT RAISE(ABORT, 'no'); END",
    );
    let other = renamed(&world, "other");
    let mut asked = Box::pin(world.engine.submit_with(new_thing(), |_, _| Ok(vec![other])));
    let answered = poll!(&mut asked);
    go_on(&world).await;
    match answered {
        Poll::Ready(answer) => answer.unwrap_err(),
        Poll::Pending => asked.await.unwrap_err(),
    };
    assert_eq!(world.rest(uid).await.operation.state, State::Done);
    assert_eq!(name(&world), "thing-1+");
}

#[tokio::test]
async fn an_update_waits_for_a_lease_and_follows_from_what_that_changed() {
    let (world, uid) = adding().await;
    let lease = world.engine.lease(thing(1)).unwrap();
    go_on(&world).await;
    lease.put(renamed(&world, "other")).await.unwrap();
    assert_eq!(world.rest(uid).await.operation.state, State::Done);
    assert_eq!(name(&world), "other+");
}

#[tokio::test]
async fn what_is_changing_is_neither_leased_nor_put_with_a_request() {
    for written in [true, false] {
        let world = world();
        things(&world, 1).await;
        if !written {
            world.sql(
                "CREATE TRIGGER no BEFORE INSERT ON resource WHEN NEW.doc LIKE '%other%' \
                 BEGIN SELECT RAISE(ABORT, 'no'); END",
            );
        }
        let watch = world.engine.watch(|it| it == Notice::Resource(thing(1)));
        let put = send(&world, Changed::Put(Arc::new(renamed(&world, "other"))));
        assert!(world.engine.lease(thing(1)).is_none());
        let third = renamed(&world, "third");
        let asked = world.engine.submit_with(new_thing(), |_, _| Ok(vec![third])).await;
        let error = asked.unwrap_err();
        let refused =
            matches!(&error, BackendError::Refused(Refusal { reason: Reason::State, .. }));
        assert!(refused && error.to_string().contains("encoding/1 is being changed"), "{error}");
        assert_eq!(put.await.is_ok(), written);
        assert_eq!(name(&world), if written { "other" } else { "thing-1" });
        // Whoever could not lease it hears that it can.
        watch.next().await;
        assert!(world.engine.lease(thing(1)).is_some());
    }
}

#[tokio::test]
async fn a_lease_does_not_take_back_what_was_made_anew() {
    let world = world();
    let uid = fails_to_make(&world).await;
    let lease = world.engine.lease(thing(1)).unwrap();
    let params: Params = serde_json::from_value(json!({ "name": "good" })).unwrap();
    world.engine.control(Control::Relaunch { uid, params }).await.unwrap();
    let same = lease.resource().clone();
    lease.put(same).await.unwrap_err();
    assert_eq!(world.rest(uid).await.operation.state, State::Done);
    assert_eq!(name(&world), "good");
}
