//! A `hostler watch --json` that stays through every life of the backend, and what its events must
//! keep to: numbers that rise by one within a life unless it says that something was missed, no
//! life that comes back, and no operation that goes on after its end.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::thread::JoinHandle;

use hostler::domain::{Event, Fact, State, Uid};

use super::arena::{Arena, Violations};

pub struct Watcher {
    child: Child,
    reader: JoinHandle<u64>,
}

impl Watcher {
    pub fn start(arena: &Arena) -> Self {
        let mut child = arena
            .command()
            .args(["watch", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("hostler watch");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let findings = arena.findings.clone();
        let reader = std::thread::spawn(move || {
            let mut order = Order { findings, ..Order::default() };
            for line in lines.map_while(Result::ok) {
                match serde_json::from_str(&line) {
                    Ok(event) => order.take(&event),
                    Err(error) => order.findings.add(format!("no event: {error}: {line}")),
                }
            }
            order.taken
        });
        Self { child, reader }
    }

    /// Whether it ended by itself, and what it said.
    pub fn has_ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        let mut said = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            stderr.read_to_string(&mut said).unwrap_or_default();
        }
        Some(format!("hostler watch ended by itself: {status}: {}", said.trim()))
    }

    /// Ends it. Returns how many events it saw.
    pub fn stop(mut self) -> u64 {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.reader.join().unwrap_or_default()
    }
}

/// What was seen so far.
#[derive(Default)]
struct Order {
    findings: Violations,
    taken: u64,
    life: u64,
    seq: u64,
    /// Lives that are over.
    over: HashSet<u64>,
    /// Whether it was said that something was missed.
    missed: bool,
    ended: HashMap<Uid, State>,
}

impl Order {
    fn take(&mut self, event: &Event) {
        self.taken += 1;
        if matches!(event.fact, Fact::Missed | Fact::Lost { .. }) {
            self.missed = true;
        }
        // One about the wire belongs to no life.
        if event.life == 0 {
            return;
        }
        let (life, seq) = (event.life, event.seq);
        if life != self.life {
            if self.over.contains(&life) {
                self.findings.add(format!("life {life} came back after life {}", self.life));
            }
            self.over.insert(self.life);
            if !self.missed {
                self.findings.add(format!("life {life} began without a word that one was lost"));
            }
        } else if seq <= self.seq {
            self.findings.add(format!("event {seq} came after {} in one life", self.seq));
        } else if seq != self.seq + 1 && !self.missed {
            self.findings.add(format!("events between {} and {seq} were lost unsaid", self.seq));
        }
        (self.life, self.seq, self.missed) = (life, seq, false);
        if let Fact::Operation(operation) = &event.fact {
            let (uid, state) = (operation.uid, operation.state);
            match self.ended.get(&uid) {
                Some(end) if *end != state => {
                    self.findings.add(format!("{uid} was {end} and became {state}"));
                }
                _ if state.is_end() => drop(self.ended.insert(uid, state)),
                _ => {}
            }
        }
    }
}
