//! What is in flight where operations ask for others: what happens to a resource, what failed on
//! it, and what is let go of where there is too much.

use std::sync::Arc;

use hostler::domain::*;
use hostler::ui::model::in_flight::Flight;
use serde_json::json;

use super::fake_backend::{PlainBackend, catalogue};

const FAILED: Uid = Uid(10);

fn vm(id: u64) -> ResourceId {
    ResourceId::new(Vm::KIND, id)
}

/// An operation on a VM.
fn on(id: u64, uid: u64, state: State, parent: Option<Uid>) -> Operation {
    let like = PlainBackend::full().operations.remove(0);
    let resource = Some(vm(id));
    Operation { uid: Uid(uid), kind: "vm_stop".to_owned(), state, parent, resource, ..like }
}

fn batch(uid: Uid, state: State) -> Operation {
    let like = on(1, uid.0, state, None);
    Operation { kind: "batch".to_owned(), resource: None, ..like }
}

fn flight(operations: Vec<Operation>) -> Flight {
    let number = |state| operations.iter().filter(|it| it.state == state).count() as u64;
    let answer = InFlight {
        running: number(State::Run),
        waiting: number(State::Pending),
        failed: number(State::Error),
        operations,
        troubled: Vec::new(),
    };
    let mut flight = Flight::default();
    flight.replace(answer, &catalogue());
    flight
}

fn rows(flight: &Flight) -> Vec<(u64, usize)> {
    flight.rows().map(|(operation, depth)| (operation.uid.0, depth)).collect()
}

#[test]
fn what_runs_on_a_resource_goes_before_what_waits_also_below_a_parent_that_failed() {
    let again = on(7, 11, State::Run, Some(FAILED));
    let waits = on(7, 20, State::Pending, None);
    let flight = flight(vec![again, waits, batch(FAILED, State::Error)]);
    assert_eq!(rows(&flight), [(20, 0), (10, 0), (11, 1)]);
    assert_eq!(flight.touching(vm(7), "web-3").map(|it| it.uid), Some(Uid(11)));
}

#[test]
fn what_an_operation_holds_is_found_in_lists_and_records() {
    let disk = |id| ResourceId::new(Disk::KIND, id);
    let params = json!({ "hostname": "web-9", "disks": [1, "data3"] });
    let create = Operation {
        kind: "vm_create".to_owned(),
        params: Arc::new(params.as_object().unwrap().clone()),
        ..on(99, 30, State::Run, None)
    };
    let flight = flight(vec![create]);
    let touching = |id, name| flight.touching(disk(id), name).map(|it| it.uid);
    assert_eq!(touching(1, "data1"), Some(Uid(30)));
    assert_eq!(touching(3, "data3"), Some(Uid(30)));
    assert_eq!(touching(4, "data4"), None);
}

#[test]
fn what_failed_on_a_resource_is_the_latest_also_below_a_parent_that_runs() {
    let runs = Uid(20);
    let old = on(7, 5, State::Error, None);
    let new = on(7, 21, State::Error, Some(runs));
    let flight = flight(vec![batch(runs, State::Run), old, new]);
    assert_eq!(rows(&flight), [(20, 0), (21, 1), (5, 0)]);
    assert_eq!(flight.failed_on(vm(7)).map(|it| it.uid), Some(Uid(21)));
}

#[test]
fn what_runs_is_kept_where_there_is_too_much_also_below_a_parent_that_failed() {
    let again = on(7, 11, State::Run, Some(FAILED));
    let waiting = (100..298).map(|uid| on(uid, uid, State::Pending, None));
    let operations = [again.clone()].into_iter().chain(waiting);
    let mut flight = flight(operations.chain([batch(FAILED, State::Error)]).collect());
    assert_eq!(flight.operations.len(), 200);
    assert!(flight.take(&on(500, 500, State::Pending, None), &catalogue()));
    assert_eq!(flight.operations.len(), 200);
    assert_eq!(flight.touching(vm(7), "web-3").map(|it| it.uid), Some(Uid(11)));
    let progress = Progress { phase: "waiting for the guest".to_owned(), ..Progress::default() };
    assert!(flight.progress(Uid(11), &progress));
    assert_eq!(flight.running, 1);
}
