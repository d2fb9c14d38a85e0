//! Answers that have not been acknowledged, and who is listening.
//!
//! Several relays may be attached at a time: after a lost `pods/exec` stream the old relay often lingers. Each answer goes
//! to all of them, and all unacknowledged ones go to each new one; a client drops what it has already seen. No
//! connection takes precedence, so a person who attaches by hand does not cut off the harness.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::mpsc;

/// Lines that may wait for one relay; one that is slower is cut off, and gets them again when it comes back.
const WAITING: usize = 16 * 1024;
/// Acknowledged ids that are remembered, against calls that a lingering relay delivers late.
const REMEMBERED: usize = 16 * 1024;

/// One line to the harness, its newline included.
pub(crate) type Line = Arc<str>;

/// The state of all calls.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    unacknowledged: BTreeMap<u64, Vec<Line>>,
    acknowledged: BTreeSet<u64>,
    attached: Vec<mpsc::Sender<Line>>,
}

impl Ledger {
    /// Takes note of a call; false if it is known already and must not be carried out again.
    pub(crate) fn begin(&mut self, id: u64) -> bool {
        if self.acknowledged.contains(&id) || self.unacknowledged.contains_key(&id) {
            return false;
        }
        self.unacknowledged.insert(id, Vec::new());
        true
    }

    /// Keeps an answer until it is acknowledged, and sends it to whoever is attached.
    pub(crate) fn answer(&mut self, id: u64, line: &Line) {
        if let Some(lines) = self.unacknowledged.get_mut(&id) {
            lines.push(line.clone());
        }
        self.send(line);
    }

    /// Sends a line to whoever is attached, without keeping it.
    pub(crate) fn send(&mut self, line: &Line) {
        self.attached.retain(|relay| relay.try_send(line.clone()).is_ok());
    }

    /// Forgets the answers to a call, not that it was carried out.
    pub(crate) fn acknowledge(&mut self, id: u64) {
        if self.unacknowledged.remove(&id).is_some() {
            self.acknowledged.insert(id);
            if self.acknowledged.len() > REMEMBERED {
                self.acknowledged.pop_first();
            }
        }
    }

    /// A new relay: what it has to be told first, and where all further lines come out.
    pub(crate) fn attach(&mut self) -> (Vec<Line>, mpsc::Receiver<Line>) {
        let (relay, lines) = mpsc::channel(WAITING);
        self.attached.retain(|relay| !relay.is_closed());
        self.attached.push(relay);
        (self.unacknowledged.values().flatten().cloned().collect(), lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        text.into()
    }

    #[test]
    fn answers_stay_until_they_are_acknowledged() {
        let mut ledger = Ledger::default();
        assert!(ledger.begin(7));
        ledger.answer(7, &line("a"));
        ledger.answer(7, &line("b"));
        assert_eq!(ledger.attach().0, [line("a"), line("b")]);
        ledger.acknowledge(7);
        assert!(ledger.attach().0.is_empty());
    }

    #[test]
    fn a_known_call_is_not_begun_again_even_when_acknowledged() {
        let mut ledger = Ledger::default();
        assert!(ledger.begin(7));
        assert!(!ledger.begin(7));
        ledger.acknowledge(7);
        assert!(!ledger.begin(7));
        ledger.acknowledge(8);
        assert!(ledger.begin(8), "an acknowledgement of what was never called means nothing");
    }

    #[test]
    fn all_relays_hear_an_answer_and_a_slow_one_is_cut_off() {
        let mut ledger = Ledger::default();
        let (_, mut first) = ledger.attach();
        let (_, mut second) = ledger.attach();
        ledger.begin(1);
        ledger.answer(1, &line("a"));
        assert_eq!(first.try_recv().unwrap(), line("a"));
        assert_eq!(second.try_recv().unwrap(), line("a"));
        for _ in 0..=WAITING {
            ledger.send(&line("b"));
            first.try_recv().unwrap();
        }
        assert_eq!(ledger.attached.len(), 1, "the second did not read");
    }
}
