//! Lists and records in forms.

use hostler::domain::*;
use hostler::ui::form::{Form, Purpose};
use hostler::ui::msg::Msg;
use serde_json::json;

use super::fake_backend::{Fake, catalogue};
use super::stage::Stage;

/// The form of a new VM, with everything filled in that must be, and the rest shown.
const EVERYTHING: &str = "n \"web-9\" enter \"correct-horse\" ctrl-o";

#[test]
fn items_of_a_list_are_added_moved_and_removed_by_keys() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    stage.keys(EVERYTHING);
    // Up from the first field around the end: to the last, the list of ports.
    stage.keys("up up");
    assert!(stage.text().contains("none; space adds one"), "{}", stage.text());
    stage.keys("space \"80\" tab ctrl-n \"443\" tab ctrl-u \"8443\"");
    let text = stage.text();
    assert!(text.contains("2 items") && text.contains("0 port"), "{text}");
    let footer = text.lines().last().unwrap();
    for hint in ["ctrl-n add", "ctrl-x remove", "alt-up up"] {
        assert!(footer.contains(hint), "{hint}: {footer}");
    }
    // There is none after the last, so that it cannot go down.
    assert!(!footer.contains("alt-down"), "{footer}");
    stage.keys("alt-up ctrl-n \"22\" ctrl-s");
    let ports = json!([
        { "port": 443, "guest": 8443 }, { "port": 22, "guest": 22 }, { "port": 80, "guest": 22 }
    ]);
    assert_eq!(stage.submitted()[0].params["ports"], ports);
}

#[test]
fn a_list_takes_no_more_than_it_may_and_what_is_removed_is_gone() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    stage.keys(EVERYTHING);
    stage.keys("up up space \"1\" ctrl-n \"2\" ctrl-n \"3\" ctrl-n");
    assert!(stage.text().contains("at most 3"), "{}", stage.text());
    stage.keys("ctrl-x ctrl-x ctrl-s");
    let ports = json!([{ "port": 1, "guest": 22 }]);
    assert_eq!(stage.submitted()[0].params["ports"], ports);
}

#[test]
fn what_is_missing_or_refused_in_a_list_is_shown_there() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    stage.keys(EVERYTHING);
    stage.keys("up up space ctrl-s");
    assert!(stage.text().contains("needed"), "{}", stage.text());
    assert_eq!(stage.submitted(), []);
    stage.keys("\"80\" ctrl-s");
    let submit = stage.submitted().remove(0);
    let told = "ports.0.port: 80 tcp leads to vm/1 already; choose another";
    let refusal = Refusal::field(Reason::Existence, "ports.0.port", "80", told);
    stage.send(Msg::Submitted(Box::new(submit), Err(refusal.into())));
    let text = stage.text();
    assert!(text.contains("80 tcp leads to vm/1 already"), "{text}");
    assert!(!text.contains("ports.0.port:"), "{text}");
}

#[test]
fn resources_of_a_list_are_chosen_by_name() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    stage.keys(EVERYTHING);
    stage.keys("up up up space");
    stage.wait();
    stage.keys("space enter ctrl-s");
    let submits = stage.submitted();
    let disks = submits[0].params["disks"].as_array().unwrap();
    assert_eq!(disks.len(), 1);
    assert!(disks[0].is_u64(), "{disks:?}");
}

#[test]
fn a_relaunch_sends_a_list_only_when_it_was_changed() {
    let secrets = FieldType::List { of: Box::new(FieldType::Secret { min: 1 }), min: 0, max: 3 };
    let mut spec = catalogue().get("vm_create").unwrap().clone();
    spec.fields.push(Field::optional("keys", secrets, json!([]), "Keys."));
    let before = json!({
        "hostname": "web-1", "password": Operation::HIDDEN, "os": 1, "keys": [Operation::HIDDEN],
        "ports": [{ "port": 80, "guest": 22 }], "disks": [3]
    });
    let before = before.as_object().unwrap().clone();
    let uid = Uid(7);
    let mut form =
        Form::new(1, &spec, Purpose::Relaunch { uid, before: before.clone() }, &catalogue());
    form.fill(&before, &catalogue());
    assert!(form.check());
    let changes = |form: &Form| {
        let mut changes = form.changes(&before);
        // What has a default was not there before.
        changes.retain(|name, _| before.contains_key(name));
        Params::from(changes)
    };
    assert_eq!(changes(&form), Params::new());
    form.at = form.entries.iter().position(|entry| entry.path == "ports.0.guest").unwrap();
    assert!(form.remove_item());
    assert_eq!(json!(changes(&form)), json!({ "ports": [] }));
}
