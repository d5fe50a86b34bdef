//! What filters mean, and what is said of those that mean nothing.

use jiff::tz::TimeZone;

use super::words::words;
use super::*;
use crate::domain::{Column, Disk, Image, Resource, ResourceKind, ResourceSpec, Vm};

const VMS: Subject = Subject::Resources(Vm::KIND);

fn row(name: &str) -> Option<Value<'static>> {
    match name {
        "id" => Some(Value::Number(22.0)),
        "name" => Some(Value::Text("Web-3 Über".into())),
        "state" => Some(Value::Text("running".into())),
        "cpu" => Some(Value::Number(62.5)),
        "memory" => Some(Value::Number(1024.0)),
        // 2026-11-20 10:00 in Berlin.
        "created" => Some(Value::Number(1_795_165_200.0)),
        _ => None,
    }
}

#[test]
fn every_term_must_match() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let now = "2026-11-20T12:00+01[Europe/Berlin]".parse::<jiff::Zoned>().unwrap();
    assert_eq!(now.time_zone(), &zone);
    for (filter, expected) in [
        ("", true),
        ("web", true),
        ("web state:running cpu>50 name~eb-", true),
        ("web state:halted", false),
        ("STATE=Running state!=halted", true),
        ("state!=running", false),
        ("absent", false),
        ("-absent !gone -state:halted", true),
        ("-web", false),
        ("22 #22", true),
        ("2", false),
        ("#2", false),
        ("-22", false),
        ("\"3 ü\" name:\"web-3 über\"", true),
        ("\"web-3  über\"", false),
        ("name!~web", false),
        ("cpu<50", false),
        ("cpu:62.5 cpu=62.5% cpu!=62", true),
        ("cpu>62.5", false),
        ("cpu>=62.5 cpu<=62.5", true),
        ("memory>=1 memory>1MiB memory:1GiB memory<1.1GB memory:1024 memory:1g", true),
        ("memory>1GiB", false),
        // Nothing is known of it, so it is neither above nor below.
        ("used>=0", false),
        ("used<1", false),
        ("-used<1 used!=1", true),
        ("created:2026-11-20 created>=2026-11-20 created<=2026-11-20 created:today", true),
        ("created>2026-11-20", false),
        ("created<2026-11-20", false),
        ("created>2026-11-19 created>2026-10 created:2026 created>yesterday", true),
        ("created:10:00 created>09:59 created:2026-11-20T10:00 created<tomorrow", true),
        ("created:\"2026-11-20 10:00:00\" created:2026-11-20T09:00:00Z", true),
        ("created:1795165200 created>1795165199", true),
        ("age<2h30m age>1h age<=2h age>=2h -age<1d30m", false),
        ("age<2h30m age>1h age<=2h age>=2h age<1w", true),
    ] {
        let read = Filter::parse(filter, VMS, &now).unwrap();
        assert_eq!(read.check(VMS), Ok(()), "{filter}");
        assert_eq!(read.matches(VMS.columns(), row), expected, "{filter}: {read:?}");
        let wire = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<Filter>(&wire).unwrap(), read, "{wire}");
    }
}

#[test]
fn what_stands_over_a_column_means_it_and_no_other() {
    let subjects = ResourceKind::ALL.iter().copied().map(Subject::Resources);
    for of in subjects.chain([Subject::Operations]) {
        for column in of.columns() {
            assert_eq!(of.called(&column.name), Some(column));
            assert_eq!(of.called(&column.head()), Some(column), "{of:?}");
        }
    }
    let now = "2026-11-20T12:00+01[Europe/Berlin]".parse::<jiff::Zoned>().unwrap();
    for (of, filter, column) in [
        (Subject::Resources(Image::KIND), "SIZE>1GiB", "bytes"),
        (VMS, "resident>1GiB", "used"),
        (Subject::Resources(Disk::KIND), "vm:3", "vm"),
        (Subject::Operations, "when:today", "created"),
    ] {
        let read = Filter::parse(filter, of, &now).unwrap();
        let FilterTest::Within { column: is, .. } = &read.terms[0].test else {
            panic!("{read:?}");
        };
        assert_eq!(is, column);
    }
    assert_eq!(VMS.called("last"), None);
}

#[test]
fn the_part_that_cannot_be_understood_is_pointed_at() {
    let now = "2026-11-20T12:00+01[Europe/Berlin]".parse::<jiff::Zoned>().unwrap();
    for (filter, part) in [
        ("web memory>big state:running", "memory>big"),
        ("web -colour:\"dark red\" x", "-colour:\"dark red\""),
        ("state:running ~x", "~x"),
        ("web state:", "state:"),
        ("web state:runing memory>1", "state:runing"),
        ("a\tb", "a\tb"),
    ] {
        let misread = Filter::read(filter, VMS, &now, &["vm_create"]).unwrap_err();
        assert_eq!(&filter[misread.part], part, "{filter}");
    }
    let filter = "web -kind:vm_craete kind~craete";
    let misread = Filter::read(filter, Subject::Operations, &now, &["vm_create"]).unwrap_err();
    assert_eq!(&filter[misread.part], "-kind:vm_craete");
}

#[test]
fn what_cannot_be_understood_is_told_in_a_few_words() {
    let now = "2026-11-20T12:00+01[Europe/Berlin]".parse::<jiff::Zoned>().unwrap();
    for (filter, why) in [
        ("colour:red", "no column 'colour'"),
        ("web console:root", "no column 'console'"),
        ("state:", "nothing follows 'state:'"),
        ("name!=\"\"", "nothing follows 'name!='"),
        ("~x", "no column before '~'"),
        ("!=x", "no column before '!='"),
        ("name>m", "name is a text: it takes : != ~ !~"),
        ("cpu~5", "cpu is a number: it takes : != > >= < <="),
        ("cpu>hot", "'hot' is no percentage, like 50%"),
        ("cpu>50MiB", "'50MiB' is no percentage, like 50%"),
        ("memory>big", "'big' is no size, like 500MiB"),
        ("memory>1h", "'1h' is no size, like 500MiB"),
        ("memory>inf", "'inf' is no size, like 500MiB"),
        ("id:x", "'x' is no number"),
        ("vcpu>1MiB", "'1MiB' is no number"),
        ("created>soon", "'soon' is no time, like 2026-11-20 or 14:30"),
        ("created>2026-02-30", "'2026-02-30' is no time, like 2026-11-20 or 14:30"),
        ("created<2h", "'2h' is no time, like 2026-11-20 or 14:30; see age<2h"),
        ("age<2", "'2' is no length of time, like 90m or 2h"),
        ("age:2h", "age is a length of time: it takes > >= < <="),
        (&"x".repeat(1001), "more than 1000 characters"),
    ] {
        let error = Filter::parse(filter, VMS, &now).unwrap_err();
        assert_eq!(error.to_string(), why, "{filter}");
    }
}

#[test]
fn only_what_says_when_it_came_to_be_has_an_age() {
    let now = "2026-11-20T12:00+01[Europe/Berlin]".parse::<jiff::Zoned>().unwrap();
    let ageless = ResourceSpec {
        columns: Column::first(8).to_vec(),
        ..ResourceSpec::new("ageless", "ageless", "things without a date")
    };
    let of = Subject::Resources(ResourceKind::describe(&ageless).unwrap());
    let error = Filter::parse("age<2h", of, &now).unwrap_err();
    assert_eq!(error.to_string(), "no column 'age'");
}

#[test]
fn every_column_is_held_in_what_it_says() {
    let resources = [
        r#"{"resource":"vm","id":1,"name":"a","state":"running",
            "uuid":"6f9619ff-8b86-4011-b42d-00c04fc964ff","image":1,"os":"tiny","shares":1,
            "memory_mib":1,"cpu":1,"login":"root","created":"2026-01-02T03:04:05Z",
            "cpu_percent":1.0,"memory_used_mib":1}"#,
        r#"{"resource":"disk","id":1,"name":"a","state":"attached","size_mb":1,
            "fstype":"ext4","format":"qcow2","path":"/d","vm":1,
            "created":"2026-01-02T03:04:05Z"}"#,
        r#"{"resource":"image","id":1,"name":"a","state":"ready","label":"a","source":"a",
            "bytes":1,"login":"root","created":"2026-01-02T03:04:05Z"}"#,
        r#"{"resource":"task","id":1,"name":"a","active":true,"kind":"vm_stop","params":{},
            "repeat":{},"next":"2026-01-02T03:04:05Z","settled":"2026-01-02T03:04:05Z",
            "created":"2026-01-02T03:04:05Z"}"#,
        r#"{"resource":"encoding","id":1,"name":"a","state":"finished","source":"/a",
            "preset":"webm","output":"/b","duration_s":1.0,"output_bytes":1,
            "created":"2026-01-02T03:04:05Z"}"#,
    ];
    for text in resources {
        let resource: Resource = serde_json::from_str(text).unwrap();
        for column in &resource.kind().spec().columns {
            let is_text = match resource.field(&column.name) {
                Some(Value::Text(_)) => true,
                Some(Value::Number(_)) => false,
                // What a new column holds is unknown here until the sample above has it.
                None => continue,
            };
            assert_eq!(is_text, column.holds == Quantity::Text, "{}", column.name);
        }
    }
}

#[test]
fn a_word_that_a_column_never_holds_is_refused() {
    let now = "2026-11-20T12:00+01[Europe/Berlin]".parse::<jiff::Zoned>().unwrap();
    let kinds = ResourceKind::ALL.iter().copied().map(Subject::Resources);
    for of in kinds.chain([Subject::Operations]) {
        for column in of.columns().iter().map(|column| &*column.name) {
            let Some(words) = words(of, column) else { continue };
            for word in words {
                let text = format!("{column}:{}", word.to_uppercase());
                Filter::parse(&text, of, &now).unwrap().check(of).unwrap();
            }
            Filter::parse(&format!("{column}:nonsense"), of, &now).unwrap_err();
            Filter::parse(&format!("{column}~nonsense"), of, &now).unwrap();
            let raw = FilterTest::Is { column: column.to_owned(), text: "nonsense".to_owned() };
            Filter::from_iter([raw]).check(of).unwrap_err();
        }
        assert!(words(of, "state").is_some(), "{of:?}");
    }
}
