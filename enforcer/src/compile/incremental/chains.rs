//! Chains that are in use: those of sets of policies, which dispatch refers to, and those of the policies in them.

use std::collections::{BTreeMap, BTreeSet};

use netpol_nft::Ruleset;

use super::super::families::AddressFamily;
use super::super::pods::Isolation;
use super::super::policies::{self, PolicyChain};
use super::sets::Sets;
use crate::diff::Delta;
use crate::world::{Direction, ObjectKey, World};

/// Chains with the number of their users. One that nobody uses any more stays until [`Chains::sweep`], lest it be deleted and
/// made again within one update.
#[derive(Debug, Default)]
pub(super) struct Chains {
    isolations: BTreeMap<Isolation, usize>,
    policies: BTreeMap<(ObjectKey, Direction), InUse>,
    unused: Vec<Isolation>,
    /// In which families the node has a DNS cache.
    caches: BTreeSet<AddressFamily>,
}

#[derive(Debug)]
struct InUse {
    chain: PolicyChain,
    users: usize,
}

impl Chains {
    /// None, on a node that has a DNS cache in these families.
    pub(super) fn new(caches: BTreeSet<AddressFamily>) -> Self {
        Self { caches, ..Self::default() }
    }

    /// One user more for the chain of these policies.
    pub(super) fn acquire(&mut self, isolation: &Isolation, world: &World, sets: &mut Sets, delta: &mut Delta) {
        if let Some(users) = self.isolations.get_mut(isolation) {
            *users += 1;
            return;
        }
        self.isolations.insert(isolation.clone(), 1);
        delta.add_chain(isolation.chain(), isolation.rules(&self.caches));
        for policy in isolation.policies.iter().filter_map(|key| world.policies.get(key)) {
            let direction = isolation.direction;
            let known = self.policies.entry((policy.key.clone(), direction)).or_insert_with(|| {
                let chain = PolicyChain::of(policy, direction);
                delta.add_chain(policies::chain(&policy.key, direction), chain.rules.clone());
                chain.sets.iter().for_each(|key| sets.acquire(key));
                InUse { chain, users: 0 }
            });
            known.users += 1;
        }
    }

    /// One user less.
    pub(super) fn release(&mut self, isolation: &Isolation) {
        if let Some(users) = self.isolations.get_mut(isolation) {
            *users -= 1;
            if *users == 0 {
                self.unused.push(isolation.clone());
            }
        }
    }

    /// Brings the chains of a policy that has changed up to date. What is gone is swept, since nobody refers to it any more.
    pub(super) fn refresh(&mut self, policy: &ObjectKey, world: &World, sets: &mut Sets, delta: &mut Delta) {
        let Some(policy) = world.policies.get(policy) else { return };
        for direction in Direction::BOTH {
            let Some(known) = self.policies.get_mut(&(policy.key.clone(), direction)) else { continue };
            let chain = PolicyChain::of(policy, direction);
            if chain.rules != known.chain.rules {
                delta.replace_rules(policies::chain(&policy.key, direction), chain.rules.clone());
            }
            chain.sets.iter().for_each(|key| sets.acquire(key));
            known.chain.sets.iter().for_each(|key| sets.release(key));
            known.chain = chain;
        }
    }

    /// Deletes what nobody uses.
    pub(super) fn sweep(&mut self, sets: &mut Sets, delta: &mut Delta) {
        for isolation in std::mem::take(&mut self.unused) {
            if self.isolations.get(&isolation) != Some(&0) {
                continue;
            }
            self.isolations.remove(&isolation);
            delta.delete_chain(isolation.chain());
            for policy in &isolation.policies {
                let id = (policy.clone(), isolation.direction);
                let Some(known) = self.policies.get_mut(&id) else { continue };
                known.users -= 1;
                if known.users == 0 {
                    known.chain.sets.iter().for_each(|key| sets.release(key));
                    self.policies.remove(&id);
                    delta.delete_chain(policies::chain(policy, isolation.direction));
                }
            }
        }
    }

    /// All of them.
    pub(super) fn write(&self, ruleset: &mut Ruleset) {
        for isolation in self.isolations.keys() {
            ruleset.chain(isolation.chain(), isolation.rules(&self.caches));
        }
        for ((policy, direction), known) in &self.policies {
            ruleset.chain(policies::chain(policy, *direction), known.chain.rules.clone());
        }
    }
}
