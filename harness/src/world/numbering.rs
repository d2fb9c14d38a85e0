//! Where the tuples of each pod of a world begin.

use std::collections::BTreeMap;

use netpol_wire::Token;

use crate::plan::PodRef;

/// Gives each pod tuples that are far from those of every other pod of its world: a packet whose source was rewritten, or whose sender is
/// gone, is told by its number alone, and must not pass for another pod's.
///
/// All of them begin anywhere: connections that an earlier owner of an address has left behind, in whatever table, are not its own.
#[derive(Debug)]
pub(super) struct Numbering {
    next: BTreeMap<PodRef, Token>,
}

impl Numbering {
    /// For all pods that a world ever has.
    pub(super) fn of<'a>(pods: impl ExactSizeIterator<Item = &'a PodRef>) -> Self {
        let apart = Token::SPAN as usize / pods.len().max(1);
        let firsts = (fastrand::u32(..Token::SPAN)..).step_by(apart.max(1)).map(Token);
        Numbering { next: pods.cloned().zip(firsts).collect() }
    }

    /// A pod's next tuple.
    pub(super) fn next(&self, pod: &PodRef) -> Token {
        self.next.get(pod).copied().unwrap_or(Token(0))
    }

    /// A pod is gone. The one that comes after it goes on behind its last tuple: its packets, whose address nobody has any more, must not
    /// count for the next one.
    pub(super) fn ended(&mut self, pod: &PodRef, next: Token) {
        self.next.insert(pod.clone(), next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology;

    #[test]
    fn pods_of_a_world_are_far_from_each_other_whatever_becomes_of_them() {
        let topology = topology::embedded().unwrap().remove("three-by-three").unwrap();
        let mut numbering = Numbering::of(topology.pods.keys());
        let pods: Vec<_> = topology.pods.keys().collect();
        let distance = |numbering: &Numbering, one: &PodRef, other: &PodRef| {
            let (one, other) = (numbering.next(one).tuple_id(), numbering.next(other).tuple_id());
            let apart = u32::from(one.abs_diff(other));
            apart.min(Token::SPAN - apart)
        };
        for (index, one) in pods.iter().enumerate() {
            for other in &pods[..index] {
                assert!(distance(&numbering, one, other) >= 2222, "{one} and {other}");
            }
        }
        let next = Token(numbering.next(pods[0]).0 + 500);
        numbering.ended(pods[0], next);
        assert_eq!(numbering.next(pods[0]), next);
        assert!(distance(&numbering, pods[0], pods[1]) >= 1700);
    }
}
