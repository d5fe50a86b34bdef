//! The plots: how fast an encoding goes.

use hostler::domain::*;

use super::assert_looks;
use super::fake_backend::Fake;
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
    let mut stage = Stage::new(Fake::full(), size);
    let rise = (0..12).map(|point| 0.4 + f64::from(point) * 0.3);
    let fall = (0..12).map(|point| 3.7 - f64::from(point) * 0.2);
    for (seq, speed) in (1..).zip(rise.chain(fall)) {
        stage.event(seq, progress(speed));
    }
    stage.keys(if size.0 < 100 { "4 G enter" } else { "4 G" });
    stage
}

#[test]
fn an_encoding_shows_how_fast_it_goes() {
    assert_looks("speed", encoding);
}

#[test]
fn a_plot_keeps_so_many_points_and_ends_with_its_encoding() {
    let mut stage = Stage::new(Fake::full(), (200, 50));
    stage.keys("4 G");
    for seq in 1..200 {
        stage.event(seq, progress(2.0));
    }
    let points = |stage: &Stage| stage.model.flight.speeds(ENCODE).count();
    assert_eq!(points(&stage), 40);
    let plot = format!("speed     {} 2.0×", "█".repeat(40));
    assert!(stage.text().contains(&plot), "{}", stage.text());
    let mut ended = stage.model.flight.get(ENCODE).unwrap().clone();
    ended.state = State::Error;
    stage.event(200, Fact::Operation(std::sync::Arc::new(ended)));
    assert_eq!(points(&stage), 0);
    assert!(!stage.text().contains("2.0×"), "{}", stage.text());
}
