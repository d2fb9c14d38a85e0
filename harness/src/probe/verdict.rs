//! From evidence at both ends to a verdict.

use std::fmt;

use netpol_wire::Got;
use schemars::JsonSchema;
use serde::Serialize;

/// What both ends saw of one probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What the prober got; none if its agent could not be asked.
    pub got: Option<Got>,
    /// Whether the opening packet arrived in the receiving pod; none if its agent could not tell.
    pub arrived: Option<bool>,
    /// Whether the receiver's listener answered in this round: somebody, or else the receiver itself over loopback; true where there is
    /// none to ask (ICMP).
    pub listener: bool,
    /// Where an ICMP error is what must come back: whether it came, from the receiver's own address. None where a reply must.
    pub refused: Option<bool>,
    /// What an agent or the operating system said about it.
    pub detail: Option<String>,
}

/// What a probe proves. Only the first three can satisfy an expectation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// The round trip succeeded.
    Allowed,
    /// Nothing arrived and nothing came back.
    Dropped,
    /// Nothing arrived, and a reset or an ICMP error came back (N49: both count as blocked).
    Rejected,
    /// It arrived, and no answer got back: enforcement on the wrong side, or of replies (N15).
    OneWay,
    /// The listener or the route is missing: says nothing about policies.
    Unreachable,
    /// An agent could not measure it.
    NotMeasured,
}

impl Verdict {
    /// Whether this verdict satisfies an expectation.
    pub fn satisfies(self, allowed: bool) -> bool {
        match self {
            Verdict::Allowed => allowed,
            Verdict::Dropped | Verdict::Rejected => !allowed,
            Verdict::OneWay | Verdict::Unreachable | Verdict::NotMeasured => false,
        }
    }

    /// Whether it tells anything about policies: the others are the environment's failure, not the engine's.
    pub fn is_measured(self) -> bool {
        !matches!(self, Verdict::Unreachable | Verdict::NotMeasured)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Allowed => "allowed",
            Verdict::Dropped => "dropped",
            Verdict::Rejected => "rejected",
            Verdict::OneWay => "one way",
            Verdict::Unreachable => "unreachable",
            Verdict::NotMeasured => "not measured",
        })
    }
}

impl Evidence {
    /// The verdict that this evidence supports, and no more than that.
    pub fn verdict(&self) -> Verdict {
        match (self.got, self.arrived) {
            (None | Some(Got::Error), _) => Verdict::NotMeasured,
            // Somebody listens where nobody should.
            (Some(Got::Reply), _) if self.refused.is_some() => Verdict::NotMeasured,
            // Another pod answered: a proxy sends to backends of before.
            (Some(Got::Reply), Some(false)) => Verdict::NotMeasured,
            (Some(Got::Reply), _) => Verdict::Allowed,
            (Some(Got::NoRoute), _) => Verdict::Unreachable,
            // A dead listener passes every deny test that only looks at the prober.
            (Some(_), _) if !self.listener => Verdict::Unreachable,
            (Some(_), None) => Verdict::NotMeasured,
            (Some(Got::Icmp), Some(true)) if self.refused == Some(true) => Verdict::Allowed,
            (Some(_), Some(true)) => Verdict::OneWay,
            (Some(Got::Rst | Got::Icmp), Some(false)) => Verdict::Rejected,
            (Some(Got::Timeout), Some(false)) => Verdict::Dropped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(got: Got, arrived: bool, listener: bool) -> Verdict {
        Evidence { got: Some(got), arrived: Some(arrived), listener, refused: None, detail: None }.verdict()
    }

    fn refusal(got: Got, arrived: bool, refused: bool) -> Verdict {
        Evidence { got: Some(got), arrived: Some(arrived), listener: true, refused: Some(refused), detail: None }
            .verdict()
    }

    #[test]
    fn a_verdict_needs_evidence_from_both_ends() {
        assert_eq!(evidence(Got::Reply, true, true), Verdict::Allowed);
        assert_eq!(evidence(Got::Reply, false, true), Verdict::NotMeasured, "somebody else answered");
        assert_eq!(evidence(Got::Timeout, false, true), Verdict::Dropped);
        assert_eq!(evidence(Got::Rst, false, true), Verdict::Rejected);
        assert_eq!(evidence(Got::Icmp, false, true), Verdict::Rejected);
        assert_eq!(evidence(Got::Timeout, true, true), Verdict::OneWay);
        assert_eq!(evidence(Got::Rst, true, true), Verdict::OneWay);
        assert_eq!(evidence(Got::NoRoute, false, true), Verdict::Unreachable);
        assert_eq!(evidence(Got::Error, false, true), Verdict::NotMeasured);
    }

    #[test]
    fn a_refusal_is_a_round_trip_only_from_the_receiver_that_was_reached() {
        assert_eq!(refusal(Got::Icmp, true, true), Verdict::Allowed);
        assert_eq!(refusal(Got::Icmp, true, false), Verdict::OneWay, "the error is another's");
        assert_eq!(refusal(Got::Timeout, true, false), Verdict::OneWay, "the error was dropped");
        assert_eq!(refusal(Got::Icmp, false, true), Verdict::Rejected, "an engine's, in the receiver's name");
        assert_eq!(refusal(Got::Icmp, false, false), Verdict::Rejected);
        assert_eq!(refusal(Got::Timeout, false, false), Verdict::Dropped);
        assert_eq!(refusal(Got::Reply, true, false), Verdict::NotMeasured, "somebody listens");
    }

    #[test]
    fn a_dead_listener_never_counts_as_denied() {
        for got in [Got::Timeout, Got::Rst, Got::Icmp] {
            assert_eq!(evidence(got, false, false), Verdict::Unreachable);
            assert_eq!(evidence(got, true, false), Verdict::Unreachable);
        }
    }

    #[test]
    fn a_receiver_that_cannot_tell_leaves_it_unmeasured() {
        let blind = Evidence { got: Some(Got::Timeout), arrived: None, listener: true, refused: None, detail: None };
        assert_eq!(blind.verdict(), Verdict::NotMeasured);
        let forged = Evidence { got: Some(Got::Icmp), refused: Some(true), ..blind };
        assert_eq!(forged.verdict(), Verdict::NotMeasured);
        let gone = Evidence { got: None, arrived: Some(false), listener: true, refused: None, detail: None };
        assert_eq!(gone.verdict(), Verdict::NotMeasured);
    }

    #[test]
    fn only_allowed_dropped_and_rejected_satisfy() {
        let all = [
            Verdict::Allowed,
            Verdict::Dropped,
            Verdict::Rejected,
            Verdict::OneWay,
            Verdict::Unreachable,
            Verdict::NotMeasured,
        ];
        let satisfying = |allowed| all.iter().filter(|verdict| verdict.satisfies(allowed)).count();
        assert_eq!((satisfying(true), satisfying(false)), (1, 2));
    }
}
