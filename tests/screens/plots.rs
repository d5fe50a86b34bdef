//! The plots: how fast an encoding goes, and the next 24 hours of tasks.

use hostler::domain::*;
use hostler::ui::app::App;
use hostler::ui::msg::{Cmd, Fetch, Msg};
use hostler::ui::update::update;
use jiff::Timestamp;

use super::assert_looks;
use super::fake_backend::PlainBackend;
use super::stage::Stage;

/// The number of the operation that encodes.
const ENCODE: Uid = Uid(48_209);

fn progress(speed: f64) -> Fact {
    let progress = Progress {
        phase: "encoding".to_owned(),
        fraction: Some(0.38),
        left_s: Some(252),
        detail: Some(format!("{speed:.1}× · 58 fps")),
        speed: Some(speed),
        step: 2,
        steps: Some(3),
    };
    Fact::Progress { uid: ENCODE, progress }
}

/// The details of an encoding under way, which slowed down in its middle.
fn encoding(size: (u16, u16)) -> Stage {
    let mut stage = Stage::new(PlainBackend::full(), size);
    let rise = (0..12).map(|point| 0.4 + f64::from(point) * 0.3);
    let fall = (0..12).map(|point| 3.7 - f64::from(point) * 0.2);
    for (seq, speed) in (1..).zip(rise.chain(fall)) {
        stage.event(seq, progress(speed));
    }
    stage.keys(if size.0 < 100 { "@encodings G enter" } else { "@encodings G" });
    stage
}

#[test]
fn an_encoding_shows_how_fast_it_goes() {
    assert_looks("speed", encoding);
}

#[test]
fn a_plot_keeps_so_many_points_and_ends_with_its_encoding() {
    let mut stage = Stage::new(PlainBackend::full(), (200, 50));
    stage.keys("@encodings G");
    for seq in 1..200 {
        stage.event(seq, progress(2.0));
    }
    let points = |stage: &Stage| stage.app.model.flight.speeds(ENCODE).count();
    assert_eq!(points(&stage), 40);
    let plot = format!("speed     {} 2.0×", "█".repeat(40));
    stage.shows(&plot);
    let mut ended = stage.app.model.flight.get(ENCODE).unwrap().clone();
    ended.state = State::Error;
    stage.event(200, Fact::Operation(std::sync::Arc::new(ended)));
    assert_eq!(points(&stage), 0);
    stage.lacks("2.0×");
}

/// Tasks of every sort; the one selected fires twice in the hour.
fn tasks(size: (u16, u16)) -> Stage {
    let mut fake = PlainBackend::full();
    let task = |resource: &Resource| matches!(resource, Resource::Task(_));
    let model = fake.resources.iter().find(|it| task(it)).unwrap().clone();
    for (id, name, minute, hour) in [
        (3, "an hourly encode", Every::At(20), Every::Any),
        (4, "backup", Every::At(30), Every::At(23)),
        (5, "between four and five", Every::Any, Every::At(4)),
        (6, "mail", Every::At(5), Every::At(12)),
        (7, "news", Every::At(5), Every::At(12)),
    ] {
        let Resource::Task(mut task) = model.clone() else { panic!("the model is no task") };
        (task.id, task.name) = (id, name.to_owned());
        task.repeat = Repeat { minute, hour, ..Repeat::default() };
        fake.resources.push(Resource::Task(task));
    }
    let mut stage = Stage::new(fake, size);
    stage.keys("@tasks");
    stage.wait();
    stage
}

#[test]
fn tasks_show_what_the_next_day_brings() {
    assert_looks("timeline", tasks);
}

#[test]
fn the_timeline_is_asked_for_while_it_is_looked_at_and_no_oftener_than_needed() {
    let mut stage = tasks((80, 24));
    let after = |app: &mut App, from: Timestamp, seconds| {
        let later = from + jiff::SignedDuration::from_secs(seconds);
        let mut cmds = update(app, Msg::Now(later));
        cmds.extend(update(app, Msg::Wake));
        cmds.iter().filter(|cmd| matches!(cmd, Cmd::Fetch(Fetch::Timeline))).count()
    };
    stage.wait();
    let asked = stage.app.model.timeline_refresh.asked_at();
    let app = &mut stage.app;
    assert!(app.wake_at().is_some());
    assert_eq!(after(app, asked, 599), 0);
    assert_eq!(after(app, asked, 600), 1);
    // Under way.
    assert_eq!(after(app, asked, 6000), 0);
    stage.answer(Fetch::Timeline);
    stage.keys("@vms");
    let asked = stage.app.model.timeline_refresh.asked_at();
    assert_eq!(after(&mut stage.app, asked, 86_400), 0, "nobody looks");
}

#[test]
fn a_task_that_changes_moves_its_marks() {
    let mut stage = tasks((80, 24));
    stage.shows("▲ an hourly encode");
    let hourly = |it: &&mut Resource| it.name() == "an hourly encode";
    let Some(Resource::Task(task)) = stage.fake.resources.iter_mut().find(hourly) else { panic!() };
    task.active = false;
    let changed = Resource::Task(task.clone());
    stage.event(1, Fact::Resource(std::sync::Arc::new(changed)));
    stage.wait();
    stage.shows("Next 24 hours");
    stage.lacks("▲ an hourly encode");
}
