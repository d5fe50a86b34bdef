//! Ports of the box that lead to ports of a guest: the field that asks for them, and its checks.

use std::collections::HashSet;

use serde_json::json;

use crate::domain::{Choice, Field, FieldType, Forward, Reason, Refusal, Resource, Vm};

use super::AdmissionContext;

/// The most forwarded ports of one VM.
const MAX_FORWARDS: u32 = 32;

/// The field: a list of records.
pub(super) fn field() -> Field {
    let number = || FieldType::Integer { min: 1, max: 65_535, unit: "".into() };
    let choice = |value: &'static str, label: &'static str| Choice {
        value: value.into(),
        label: label.into(),
    };
    let protocols = vec![choice("tcp", "connections"), choice("udp", "datagrams")];
    let fields = vec![
        Field::required("port", number(), "The port of the box, on its loopback address alone."),
        Field::required("guest", number(), "The port of the guest that it leads to."),
        Field::optional(
            "protocol",
            FieldType::Choice { choices: protocols },
            "tcp",
            "What is forwarded.",
        ),
    ];
    Field::optional(
        "ports",
        FieldType::List { of: Box::new(FieldType::Record { fields }), min: 0, max: MAX_FORWARDS },
        json!([]),
        "Ports of the box that lead to ports of the guest, such as 2222 to its 22 for SSH.",
    )
    .advanced()
}

/// No port of the box can lead to two places.
pub(super) fn admit_each_once(forwards: &[Forward]) -> Result<(), Refusal> {
    let mut seen = HashSet::new();
    match forwards.iter().enumerate().find(|(_, it)| !seen.insert((it.protocol, it.port))) {
        Some((number, twice)) => Err(refused(Reason::Value, number, twice, "is in the list twice")),
        None => Ok(()),
    }
}

/// No other VM has these ports of the box.
pub(super) fn admit_free(
    forwards: &[Forward],
    world: &AdmissionContext<'_>,
) -> Result<(), Refusal> {
    for resource in world.inventory.of(Vm::KIND) {
        let Resource::Vm(vm) = &**resource else { continue };
        let has = |it: &Forward| {
            vm.ports.iter().any(|has| (has.protocol, has.port) == (it.protocol, it.port))
        };
        if let Some((number, taken)) = forwards.iter().enumerate().find(|(_, it)| has(it)) {
            let why = format!("leads to vm/{} '{}' already", vm.id, vm.name);
            return Err(refused(Reason::Existence, number, taken, &why));
        }
    }
    Ok(())
}

fn refused(reason: Reason, number: usize, forward: &Forward, why: &str) -> Refusal {
    let path = format!("ports.{number}.port");
    let message =
        format!("{path}: {} {} {why}; choose another", forward.port, forward.protocol.word());
    Refusal::field(reason, path, forward.port.to_string(), message)
}

/// What it does, in a sentence without its end.
pub(super) fn sentence(forward: &Forward) -> String {
    let Forward { port, guest, protocol } = forward;
    format!("127.0.0.1:{port} leads to port {guest} of the guest ({})", protocol.word())
}
