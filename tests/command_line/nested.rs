//! Lists and records on the command line.

use super::*;

#[test]
fn lists_and_records_are_put_together_from_their_parts() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ports.json");
    std::fs::write(&file, r#"[{ "port": 80, "key": "sesame" }]"#).unwrap();
    let from_file = format!("ports=@{}", file.display());
    let key = dir.path().join("key");
    std::fs::write(&key, "sesame\n").unwrap();
    let key = format!("ports.0.key=@{}", key.display());
    for (given, sent) in [
        (vec!["disks=data", "disks=4"], json!({ "disks": ["data", 4] })),
        (vec!["disks.0=data", "disks.1=disk/4"], json!({ "disks": ["data", 4] })),
        (vec![r#"disks=["data",4]"#], json!({ "disks": ["data", 4] })),
        (
            vec!["ports.0.port=80", "ports.1.port=443", "ports.0.guest=8080"],
            json!({ "ports": [{ "port": 80, "guest": 8080 }, { "port": 443 }] }),
        ),
        (vec![r#"ports=[{"port":80}]"#], json!({ "ports": [{ "port": 80 }] })),
        (
            vec![r#"ports.0={"port":80}"#, "ports.1.port=81"],
            json!({ "ports": [{ "port": 80 }, { "port": 81 }] }),
        ),
        (vec![&from_file], json!({ "ports": [{ "port": 80, "key": "sesame" }] })),
        (vec!["ports.0.port=80", &key], json!({ "ports": [{ "port": 80, "key": "sesame" }] })),
    ] {
        let params = cli::parse_fields(
            &fake::catalogue(),
            "vm_create",
            &given.iter().map(ToString::to_string).collect::<Vec<_>>(),
            Some(&Params::new()),
            &mut Typist::default(),
        );
        assert_eq!(params.map(Json::Object).unwrap(), sent, "{given:?}");
    }
}

#[test]
fn parts_that_are_written_wrongly_are_named_by_their_path() {
    for (given, said) in [
        (vec!["ports.1.port=80"], "ports.1 has no item before it; the next one is ports.0"),
        (vec!["ports.first.port=80"], "'first' is no number of an item; write ports.0"),
        (vec!["ports.00.port=80"], "'00' is no number of an item; write ports.0"),
        (vec!["ports.+0.port=80"], "'+0' is no number of an item; write ports.0"),
        (vec![r#"ports=[{"port":1,"port":2}]"#], "ports is not understood: 'port' stands twice"),
        (vec!["ports=@/dev/zero"], "cannot read /dev/zero for ports: it is no regular file"),
        (vec!["ports.0.key=@/dev/zero"], "for ports.0.key: it is no regular file"),
        (vec!["ports.0.prot=80"], "ports.0 has no field 'prot'; did you mean port?"),
        (vec!["ports.0.port=many"], "ports.0.port is 'many'; it must be a whole number"),
        (vec!["ports.0.port.x=1"], "ports.0.port has no fields"),
        (vec!["ports.0.port=1", "ports.0.port=2"], "ports.0.port is given twice"),
        (vec!["ports=[]", "ports.0.port=2"], "ports is given whole and part by part"),
        (vec!["ports.0.port=2", "ports=[]"], "ports is given whole and part by part"),
        (vec!["ports=80"], "ports.0 must be a JSON object"),
        (vec!["ports=[80"], "ports must be a JSON array"),
        (vec!["ports=@/there/is/none"], "cannot read /there/is/none for ports"),
        (vec!["ports.0.key=hunter2"], "ports.0.key must not stand on the command line"),
        (
            vec![r#"ports=[{"port":1,"key":"hunter2"}]"#],
            "ports.0.key must not stand on the command line",
        ),
        (vec!["disk.0=1"], "did you mean disks?"),
    ] {
        let refused = cli::parse_fields(
            &fake::catalogue(),
            "vm_create",
            &given.iter().map(ToString::to_string).collect::<Vec<_>>(),
            Some(&Params::new()),
            &mut Typist::default(),
        );
        let told = refused.unwrap_err().to_string();
        assert!(told.contains(said) && !told.contains("hunter2"), "{given:?}: {told}");
    }
}

#[tokio::test]
async fn a_relaunch_changes_parts_of_a_list() {
    let fake = ScriptedBackend::new();
    let mut create = fake::operation(7, State::Error);
    create.kind = "vm_create".into();
    let ports = json!([{ "port": 80, "guest": 80, "key": null }, { "port": 81, "guest": 81 }]);
    let params = json!({ "hostname": "web-1", "ports": ports, "disks": [1, 2] });
    create.params = params.as_object().unwrap().clone().into();
    let sent = |fake: &ScriptedBackend| match fake.asked().pop() {
        Some(Asked::Control(Control::Relaunch { params, .. })) => Json::Object(params),
        other => panic!("{other:?}"),
    };
    fake.will_answer(detail(create.clone()));
    run(&fake, "operation relaunch 7 ports.1.port=443 ports.2.port=22 disks=3").await.with(0);
    let ports = json!([
        { "port": 80, "guest": 80, "key": null }, { "port": 443, "guest": 81 }, { "port": 22 }
    ]);
    assert_eq!(sent(&fake), json!({ "ports": ports, "disks": [3] }));

    Arc::make_mut(&mut create.params)["ports"][0]["key"] = json!(Operation::HIDDEN);
    fake.will_answer(detail(create.clone()));
    let refused = run(&fake, "operation relaunch 7 ports.1.port=443").await;
    assert!(refused.with(2).err.contains("ports.0.key=-"), "{}", refused.err);
}

#[test]
fn help_names_what_lists_and_records_hold() {
    let mut command = cli::command(&fake::catalogue());
    let run = command.find_subcommand_mut("run").unwrap();
    let help = run.find_subcommand_mut("vm_create").unwrap().render_long_help().to_string();
    for said in ["* ports.N.port", "ports.N.guest", "ports.N.key=-", "disks.N from 0"] {
        assert!(help.contains(said), "{said}: {help}");
    }
    let mut page = Vec::new();
    cli::man(&fake::catalogue(), &mut page).unwrap();
    assert!(String::from_utf8(page).unwrap().contains("ports.N.guest"));
}

#[test]
fn a_file_of_values_is_read_to_its_end_which_must_come() {
    let dir = tempfile::tempdir().unwrap();
    let (large, pipe) = (dir.path().join("large"), dir.path().join("pipe"));
    std::fs::write(&large, "x".repeat(2 << 20)).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (file, said) in [(large, "it has more than 1024 KiB"), (pipe, "it is no regular file")] {
        let given = [format!("ports.0.key=@{}", file.display())];
        let present = Params::new();
        let keyboard = &mut Typist::default();
        let catalogue = fake::catalogue();
        let read = cli::parse_fields(&catalogue, "vm_create", &given, Some(&present), keyboard);
        let error = read.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}
