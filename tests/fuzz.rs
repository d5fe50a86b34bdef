//! Anything at all, given to whatever reads what others wrote: the native protocol in both
//! directions, the configuration, filters, timetables, and the answers of QEMU, qemu-img, ffmpeg
//! and ffprobe. Nothing may panic, take long or grow without bound; what is printed reads as it
//! was.
//!
//! `make test` tries the corpora in `__fuzz__/` and what the dice give for a second each, `make
//! fuzz` for longer. They run without `cargo bolero`, which would need a nightly compiler and a
//! tool installed beside it; built with bolero's flags, the same targets run under libFuzzer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed; clippy knows only the test functions themselves"
)]
#![cfg(feature = "failpoints")]

use std::path::Path;
use std::time::Duration;

use bolero::check;
use hostler::backend::drivers::fuzz;
use hostler::backend::engine::admission;
use hostler::backend::settings::Settings;
use hostler::backend::{operations, schedule};
use hostler::config::{Config, Origin};
use hostler::domain::{
    Answer, Catalogue, Control, Event, Every, Filter, OperationSpec, Query, Repeat, ResourceId,
    ResourceSpec, Subject, Submit, Uid, Value, Vm,
};
use hostler::wire::{Version, native};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How long each target is tried: a second in `make test`, as long as it is told in `make fuzz`.
fn time() -> Duration {
    let told = std::env::var("HOSTLER_FUZZ_SECONDS").ok();
    Duration::from_secs(told.map_or(1, |seconds| seconds.parse().expect("a number of seconds")))
}

/// Reads something, and when that works, reads it as it was from how it is printed.
fn there_and_back<T>(bytes: &[u8])
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let Ok(read) = serde_json::from_slice::<T>(bytes) else { return };
    let printed = serde_json::to_vec(&read).expect("what was read can be printed");
    let again: T = serde_json::from_slice(&printed).expect("what was printed can be read");
    // serde_json reads some fractions one bit off.
    if !bytes.iter().any(|byte| b".eE".contains(byte)) {
        assert_eq!(again, read);
    }
}

#[test]
fn native_requests() {
    let kinds = operations::all(&Settings::new("/nowhere".into()));
    let catalogue = Catalogue::new(kinds.into_iter().map(|entry| entry.spec));
    check!().with_test_time(time()).for_each(|bytes: &[u8]| {
        there_and_back::<Query>(bytes);
        there_and_back::<Control>(bytes);
        there_and_back::<Submit>(bytes);
        if let Ok(submit) = serde_json::from_slice::<Submit>(bytes)
            && let Some(spec) = catalogue.get(&submit.kind)
        {
            // What passes once passes again as it was made.
            let find = |_, value: &serde_json::Value| value.as_u64();
            if let Ok(checked) = admission::check(spec, submit.params, &catalogue, &find)
                && checked.failed.is_none()
            {
                let again = admission::check(spec, checked.params.clone(), &catalogue, &find);
                assert_eq!(again.as_ref(), Ok(&checked), "{}", spec.kind);
            }
        }
        let claimed = String::from_utf8_lossy(bytes);
        let actor = native::actor(&claimed, 0);
        assert!(actor.len() <= 64 && !actor.contains(char::is_control), "{actor:?}");
    });
}

#[test]
fn native_answers() {
    check!().with_test_time(time()).for_each(|bytes: &[u8]| {
        there_and_back::<Event>(bytes);
        there_and_back::<Answer>(bytes);
        there_and_back::<Vec<OperationSpec>>(bytes);
        there_and_back::<Vec<ResourceSpec>>(bytes);
        let error = native::error_from(500, bytes, &Version::Untold).to_string();
        assert!(error.len() <= bytes.len() * 3 + 1000, "{error}");
        if let Ok(event) = serde_json::from_slice::<Event>(bytes) {
            let line = native::event_line(&event).expect("a line");
            assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
        }
    });
}

#[test]
fn config() {
    check!().with_test_time(time()).for_each(|bytes: &[u8]| {
        let (mut config, mut origin) = (Config::default(), Origin::default());
        let text = String::from_utf8_lossy(bytes);
        if let Err(complaint) = config.merge(Path::new("/etc/h.toml"), &text, &mut origin) {
            let said = complaint.to_string();
            assert!(said.contains("/etc/h.toml"), "{said}");
            assert!(!said.contains('\n'), "{said:?} is more than a line");
        }
    });
}

#[test]
fn filter() {
    check!().with_test_time(time()).for_each(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let (of, now) = (Subject::Resources(Vm::KIND), Zoned::default());
        let filter = match Filter::parse(&text, of, &now) {
            Ok(filter) => filter,
            Err(error) => return assert!(!error.to_string().contains('\n'), "{error:?}"),
        };
        let field = |name: &str| match name {
            "name" => Some(Value::text("Web-3")),
            "cpu" => Some(Value::Number(62.5)),
            _ => None,
        };
        let matches = filter.matches(of.columns(), field);
        there_and_back::<Filter>(&serde_json::to_vec(&filter).expect("it is printed"));
        // What was typed twice says no more than once, unless a quote is open or it is too long.
        let is_closed = text.matches('"').count().is_multiple_of(2);
        if let Ok(twice) = Filter::parse(&format!("{text} {text}"), of, &now)
            && is_closed
        {
            assert_eq!(twice.matches(of.columns(), field), matches, "{text:?}");
        }
    });
}

#[test]
fn names() {
    check!().with_test_time(time()).for_each(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(id) = text.parse::<ResourceId>() {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        if let Ok(uid) = text.parse::<Uid>() {
            assert_eq!(uid.to_string().parse(), Ok(uid));
        }
        if let Ok(every) = text.parse::<Every>() {
            assert_eq!(every.to_string().parse(), Ok(every));
        }
    });
}

#[test]
fn timetable() {
    let zones = ["UTC", "Europe/Berlin", "Pacific/Apia"];
    let zones = zones.map(|name| TimeZone::get(name).expect("a time zone"));
    check!().with_test_time(time()).for_each(|bytes: &[u8]| {
        there_and_back::<Repeat>(bytes);
        let Ok(repeat) = serde_json::from_slice::<Repeat>(bytes) else { return };
        for zone in &zones {
            for after in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
                let Some(next) = schedule::next(&repeat, after, zone) else { continue };
                assert!(next > after, "{next} is not after {after}");
                let date = next.to_zoned(zone.clone()).date();
                assert!(repeat.start.is_none_or(|start| date >= start), "{date}: {repeat:?}");
                assert!(repeat.end.is_none_or(|end| date <= end), "{date}: {repeat:?}");
            }
        }
    });
}

#[test]
fn qmp() {
    check!().with_test_time(time()).for_each(|bytes: &[u8]| {
        let _ = fuzz::qmp(&String::from_utf8_lossy(bytes));
    });
}

#[test]
fn ffmpeg_progress() {
    check!().with_test_time(time()).for_each(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        for duration in [None, Some(0.0), Some(12.5), Some(f64::MAX)] {
            let Some(meter) = fuzz::progress(&text, duration) else { continue };
            let fits = |fraction: f64| (0.0..=1.0).contains(&fraction);
            assert!(meter.fraction.is_none_or(fits), "{:?}: {text:?}", meter.fraction);
            let length = meter.detail.map_or(0, |detail| detail.len());
            assert!(length < 200, "{length} bytes are told for {text:?}");
        }
    });
}

#[test]
fn ffprobe_report() {
    check!().with_test_time(time()).for_each(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let Ok(media) = fuzz::probe(&text) else { return };
        for seconds in [media.duration_s, media.video_s, media.audio_s, media.fps] {
            let is_sane = seconds.is_none_or(|it| it.is_finite() && it >= 0.0);
            assert!(is_sane, "{seconds:?}: {text:?}");
        }
    });
}

#[test]
fn qemu_img_info() {
    check!().with_test_time(time()).for_each(|bytes: &[u8]| {
        let _ = fuzz::disk_info(&String::from_utf8_lossy(bytes));
    });
}

#[test]
fn checksum_list() {
    check!().with_test_time(time()).for_each(|bytes: &[u8]| {
        let found = fuzz::checksum(&String::from_utf8_lossy(bytes), "disk.qcow2");
        let is_hash = |hash: String| {
            [64, 128].contains(&hash.len()) && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        assert!(found.is_none_or(is_hash));
    });
}
