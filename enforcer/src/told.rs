//! What the enforcer tells people: what of the node it cannot police, and which policies it does not understand.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::enforcer::{Enforcer, Known};
use crate::events::Refusal;
use crate::status::RefusedPolicy;
use crate::uplinks::Links;

impl Enforcer<'_> {
    /// Tells of what this node's rules cannot see, which must not pass for enforced: in the log once, and by not being ready
    /// as long as it is so. And of what they may be too strict about.
    pub(crate) fn report_node(&mut self, links: &Links) {
        let unseen = match &self.known {
            Known::All(compiled) => self.unseen.find(compiled.local_pods(), links, Instant::now()),
            Known::Some { .. } => self.unseen.find(std::iter::empty(), links, Instant::now()),
        };
        let advice = links.advice(&self.known.parts().1.node_local_dns);
        if (&unseen, &advice) != (&self.told_of_node.0, &self.told_of_node.1) {
            unseen.iter().for_each(|what| tracing::error!("{what}"));
            advice.iter().for_each(|what| tracing::warn!("{what}"));
            self.health.update(|status| (status.unseen, status.advice) = (unseen.clone(), advice.clone()));
            self.told_of_node = (unseen, advice);
        }
    }

    /// Whether time alone decides about something of the node.
    pub(crate) fn looks_again(&self) -> bool {
        self.unseen.is_undecided()
    }

    /// Tells of policies that are not understood: in the log once per generation, in `/status` as long as they are there.
    pub(crate) fn report_refused(&mut self) {
        let world = self.known.parts().0;
        let refused = || world.policies.values().filter(|policy| !policy.refused.is_empty());
        let known: BTreeSet<_> =
            refused().map(|policy| (policy.key.clone(), policy.uid.clone(), policy.generation)).collect();
        for policy in refused() {
            let id = (policy.key.clone(), policy.uid.clone(), policy.generation);
            if !self.reported.contains(&id) {
                let reasons = policy.refused.join("; ");
                tracing::warn!(
                    policy = %policy.key,
                    generation = policy.generation,
                    reasons = reasons.as_str(),
                    "policy refused: the pods that it selects are closed, save for what other policies allow",
                );
                if let Some(events) = &self.events {
                    events.refused(Refusal {
                        policy: policy.key.clone(),
                        uid: policy.uid.clone(),
                        generation: policy.generation,
                        reasons,
                    });
                }
            }
        }
        self.metrics.policies.set(world.policies.len() as i64);
        self.metrics.refused.set(known.len() as i64);
        self.health.update(|status| {
            status.refused = refused()
                .map(|policy| RefusedPolicy {
                    policy: policy.key.to_string(),
                    generation: policy.generation,
                    reasons: policy.refused.clone(),
                })
                .collect();
        });
        self.reported = known;
    }
}
