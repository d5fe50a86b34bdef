//! A console and a command line of before there were storage pools, on a backend that has them: a
//! kind of resource with two columns and a kind of operation on it, known by what the backend says
//! of them alone, are in the tabs, lists, filters, details, forms, palette, command line, help and
//! man page.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot set its stage should stop there, helpers included"
)]

#[path = "support/fake.rs"]
mod fake;
#[path = "support/fake_backend.rs"]
#[allow(dead_code, reason = "another test uses the rest")]
mod fake_backend;
#[path = "support/stage.rs"]
#[allow(dead_code, reason = "another test uses the rest")]
mod stage;

use hostler::cli::{self, CliContext, Terminal};
use hostler::domain::*;
use hostler::ui::input::keymap::Keymap;
use hostler::ui::windows::actions;
use serde_json::{Value as Json, json};
use stage::Stage;

/// What `GET /v1/resources` of the newer backend says beside what is known already.
fn descriptions() -> Json {
    json!([
        { "word": "vm", "plural": "vms", "one": "VM", "many": "VMs", "doc": "virtual machines",
          "columns": [], "states": [], "colour": "of a later version" },
        { "word": "pool", "plural": "pools", "one": "pool", "many": "pools",
          "doc": "storage pools",
          "columns": [
              { "name": "id", "title": "id", "holds": "number", "listed": true },
              { "name": "name", "title": "name", "holds": "text", "width": 0, "from": 0,
                "listed": true },
              { "name": "state", "title": "state", "holds": "text", "width": 14, "from": 0,
                "listed": true },
              { "name": "space", "title": "space", "holds": "bytes", "member": "free_bytes",
                "width": 9, "from": 40, "listed": true },
              { "name": "vm", "title": "vm", "holds": "number", "refers_to": "vm", "width": 9,
                "from": 50, "listed": true },
          ],
          "states": [
              { "word": "online", "tone": "running" },
              { "word": "degraded", "tone": "bad" },
              { "word": "resilvering", "tone": "of a later version" },
          ] },
    ])
}

/// What `GET /v1/catalogue` of the newer backend says.
fn operations() -> Json {
    json!([{
        "kind": "pool_scrub", "title": "Scrub", "doc": "Reads all of a pool.",
        "doing": "being scrubbed", "resource": "pool", "effect": "changes", "subject": "pool",
        "lane": "disk", "risk": "none",
        "fields": [
            { "name": "pool", "doc": "The pool.", "type": "resource", "of": "pool", "states": [],
              "required": true },
            { "name": "speed", "doc": "How much of the disks it may use.", "type": "integer",
              "min": 1, "max": 100, "unit": "%", "required": true },
        ],
        "hint": { "title": "scrub", "keys": ["C"], "rank": 11 },
        "locks": [], "steps": ["read"],
    }, {
        "kind": "box_report", "title": "Report", "doc": "Writes down how the box is.",
        "doing": "writing", "resource": null, "effect": "changes", "lane": "disk", "risk": "none",
        "fields": [
            { "name": "depth", "doc": "How much of it.", "type": "integer", "min": 1, "max": 9,
              "unit": "levels", "required": true },
        ],
        "locks": [], "steps": ["look"],
    }])
}

fn catalogue() -> Catalogue {
    let resources: Vec<ResourceSpec> = serde_json::from_value(descriptions()).unwrap();
    Catalogue::read(&resources, operations()).unwrap()
}

fn pools() -> Vec<Resource> {
    // A kind is known once it is described.
    catalogue();
    let pools = json!([
        { "resource": "pool", "id": 1, "name": "fast", "state": "online",
          "free_bytes": 1_073_741_824_u64, "vm": 1, "vendor": "Acme" },
        { "resource": "pool", "id": 2, "name": "slow", "state": "degraded",
          "free_bytes": 5_368_709_120_u64, "vm": null, "vendor": "Acme" },
    ]);
    serde_json::from_value(pools).unwrap()
}

fn console() -> Stage {
    let mut fake = fake_backend::PlainBackend::full();
    fake.resources.extend(pools());
    Stage::with(fake, (120, 30), |setup| {
        setup.catalogue = catalogue();
        setup.keymap = Keymap::new(actions(&catalogue()), &[]).unwrap();
    })
}

#[test]
fn a_document_is_the_same_there_and_back() {
    for pool in pools() {
        let document = serde_json::to_value(&pool).unwrap();
        assert_eq!(serde_json::from_value::<Resource>(document).unwrap(), pool);
    }
    let broken = json!({ "resource": "pool", "name": "no number" });
    let error = serde_json::from_value::<Resource>(broken).unwrap_err().to_string();
    assert_eq!(error, "this pool has no number");
    let unknown = json!({ "resource": "moon", "id": 1 });
    let error = serde_json::from_value::<Resource>(unknown).unwrap_err().to_string();
    assert!(error.contains("'moon' is no kind of resource known here"), "{error}");
}

#[test]
fn its_own_description_of_what_it_has_stays() {
    assert_eq!(catalogue().resources()[0].spec(), &Vm::spec());
}

#[test]
fn the_tab_the_list_and_the_details_are_drawn_from_the_description() {
    let mut stage = console();
    stage.keys("2");
    let text = stage.text();
    assert!(text.contains(" 2 Pools "), "{text}");
    assert!(text.contains("NAME") && text.contains("SPACE") && text.contains("VM"), "{text}");
    let shown = text.lines().find(|line| line.contains("▶ fast")).unwrap();
    assert!(shown.contains("● online") && shown.contains("1.0 GiB"), "{text}");
    // What it refers to is asked for by its number and shown by its name.
    let name = stage.fake.resources.iter().find(|it| it.id() == ResourceId::new(Vm::KIND, 1));
    assert!(shown.contains(name.unwrap().name()), "{text}");
    assert!(text.contains("vendor") && text.contains("Acme"), "{text}");
    stage.keys("j");
    stage.shows("✖ degraded");
    // It needs a person, and is gone to like any other.
    stage.keys("1");
    let pools = |stage: &Stage| stage.app.model.tab.many() == "pools";
    let gone_to = (0..20).any(|_| pools(stage.keys("!")));
    assert!(gone_to && stage.app.model.pane().selected == Some(2), "{}", stage.text());
}

#[test]
fn filters_and_orders_take_its_columns() {
    let mut stage = console();
    stage.keys("2 / \"space>2GiB\" enter");
    assert_eq!(stage.app.model.pane().total, 1);
    stage.shows("slow");
    stage.keys("esc o");
    stage.shows("space");
}

#[test]
fn the_operation_has_its_key_its_form_and_its_place_in_the_palette() {
    let mut stage = console();
    stage.keys("2");
    assert!(stage.footer().contains("C scrub"), "{}", stage.text());
    stage.keys("C");
    let text = stage.text();
    assert!(text.contains("Scrub") && text.contains("speed") && text.contains("fast"), "{text}");
    stage.keys("\"50\" enter");
    let submitted = stage.submitted();
    assert_eq!(submitted.len(), 1, "{}", stage.text());
    assert_eq!(submitted[0].kind, "pool_scrub");
    assert_eq!(Json::Object(submitted[0].params.clone()), json!({ "pool": 1, "speed": 50 }));
    stage.keys("esc : \"scrub\"");
    stage.shows("pool_scrub");
    stage.keys("esc : \"slow\"");
    stage.shows("slow pool/2");
    stage.keys("esc ?");
    stage.shows("On Pools");
}

#[test]
fn a_kind_with_a_field_of_an_unknown_type_is_there_and_says_why_it_cannot_be_asked_for() {
    let mut newer = operations();
    newer[0]["fields"][1]["type"] = "of a later version".into();
    let resources: Vec<ResourceSpec> = serde_json::from_value(descriptions()).unwrap();
    let newer = Catalogue::read(&resources, newer).unwrap();
    let mut fake = fake_backend::PlainBackend::full();
    fake.resources.extend(pools());
    let mut stage = Stage::with(fake, (120, 30), |setup| {
        setup.keymap = Keymap::new(actions(&newer), &[]).unwrap();
        setup.catalogue = newer;
    });
    stage.keys("2");
    assert!(stage.footer().contains("C scrub"), "{}", stage.text());
    stage.keys("C");
    stage.shows("pool_scrub needs a newer hostler");
    assert!(stage.submitted().is_empty());
}

#[test]
fn a_kind_about_no_resource_is_begun_wherever_one_is() {
    let mut stage = console();
    stage.keys("2 : \"report\"");
    stage.shows("Report · box_report");
    stage.keys("enter");
    let text = stage.text();
    assert!(text.contains("Report") && text.contains("depth"), "{text}");
    assert!(!text.contains("Report ·"), "it is about nothing: {text}");
    stage.keys("\"3\" enter");
    let submitted = stage.submitted();
    assert_eq!(submitted.len(), 1, "{}", stage.text());
    assert_eq!((&*submitted[0].kind, &submitted[0].params["depth"]), ("box_report", &json!(3)));
    assert_eq!(stage.app.model.tab.many(), "pools", "the list in front stays");
    stage.keys("esc ? \"report\"");
    let text = stage.text();
    let line = text.lines().find(|line| line.contains("Writes down how the box is."));
    assert!(line.is_some_and(|line| line.contains("box_report")), "{text}");
}

/// A line for the command line, what it is answered, and what it prints.
async fn run(line: &str, answers: impl IntoIterator<Item = Answer>) -> String {
    let fake = fake::ScriptedBackend::with(catalogue());
    for answer in answers {
        fake.will_answer(Ok(answer));
    }
    let words = ["hostler"].into_iter().chain(line.split(' '));
    let command = match cli::parse(&catalogue(), words) {
        Ok(parsed) => parsed.command.unwrap(),
        Err(help) => return help.to_string(),
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let session = CliContext {
        backend: fake,
        actor: "cli:root".into(),
        out: &mut out,
        err: &mut err,
        keyboard: &mut Terminal,
        columns: None,
        bar: false,
        read_only: false,
        nothing_because: None,
    };
    cli::run(command, session).await;
    String::from_utf8(out).unwrap() + &String::from_utf8(err).unwrap()
}

#[tokio::test]
async fn the_command_line_lists_shows_and_runs_it() {
    let page = Page { total: 2, offset: 0, rows: Rows::Resources(pools()) };
    // The VM that one of them is of is called by its name, where there is one of that number.
    let vms = Page { total: 0, offset: 0, rows: Rows::Resources(Vec::new()) };
    let answers = [page, vms.clone()].map(Answer::Page);
    let listed = run("list pools --filter space>1GiB", answers).await;
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines[0], "ID  NAME  STATE     SPACE    VM");
    assert_eq!(lines[1], "1   fast  online    1.0 GiB  1");
    assert_eq!(lines[2], "2   slow  degraded  5.0 GiB  —");
    let shown = Answer::Resource(Box::new(pools().remove(0)));
    let shown = run("show pool/1", [shown, Answer::Page(vms)]).await;
    assert!(shown.starts_with("pool/1 fast\n") && shown.contains("Acme"), "{shown}");
    let said = run("list pools --filter colour:red", None).await;
    assert!(said.contains("there are id, name, state, space, vm"), "{said}");
    let help = run("list --help", None).await;
    assert!(help.contains("pools"), "{help}");
    let help = run("run pool_scrub --help", None).await;
    assert!(help.contains("Reads all of a pool.") && help.contains("speed"), "{help}");
    let said = run("serial pool/1", None).await;
    assert!(said.contains("pool/1 has no serial line; only VMs have one"), "{said}");
    assert_eq!(run("run pool_scrub pool=1 speed=5", None).await, "#1 pool_scrub accepted\n");
    let help = run("run box_report --help", None).await;
    assert!(help.contains("How much of it.") && !help.contains("--for"), "{help}");
    let said = run("run box_report depth=1 --for name~x", None).await;
    assert!(said.contains("--for"), "{said}");
    let mut page = Vec::new();
    cli::man(&catalogue(), &mut page).unwrap();
    let page = String::from_utf8(page).unwrap();
    assert!(page.contains("HOSTLER RUN POOL_SCRUB") && page.contains("pools"), "{page}");
}
