//! The smallest transaction that turns one ruleset into another.
//!
//! What is added comes before what refers to it, what is deleted after it; a chain whose rules differ gets them anew, a set
//! or map gets and loses elements (P25). Base chains stay where they are (P26).

mod parts;

use std::collections::{BTreeMap, BTreeSet};

use netpol_nft::{Chain, Element, Rule, Ruleset, Set, Table, Transaction};

/// The rulesets cannot be led over into each other by additions and deletions: a set has another type, or a base chain
/// another hook. Load the new one anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {name} has changed its type; the table has to be loaded anew")]
pub struct Redefined {
    /// `set` or `chain`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
}

/// What is different between two rulesets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Sets and maps by name.
    pub sets: BTreeMap<String, SetDelta>,
    /// Chains by name.
    pub chains: BTreeMap<String, ChainDelta>,
}

/// Whether an object is there before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// After.
    Added,
    /// Before and after.
    Kept,
    /// Before.
    Deleted,
}

/// What is different in a set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetDelta {
    /// The set.
    pub set: Set,
    /// Whether it comes or goes.
    pub presence: Presence,
    /// Elements that go. A key whose value changes goes and comes.
    pub deleted: Vec<Element>,
    /// Elements that come.
    pub added: Vec<Element>,
}

/// What is different in a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainDelta {
    /// The chain.
    pub chain: Chain,
    /// Whether it comes or goes.
    pub presence: Presence,
    /// All of its rules, unless it goes.
    pub rules: Vec<Rule>,
}

/// What leads from one ruleset to another. Fails if additions and deletions cannot.
pub fn diff(held: &Ruleset, desired: &Ruleset) -> Result<Delta, Redefined> {
    let mut delta = Delta::default();
    for (name, (set, elements)) in &desired.sets {
        let presence = match held.sets.get(name) {
            None => Presence::Added,
            // A comment does not change what a set is.
            Some((known, _))
                if (&known.key, &known.maps_to, known.interval) == (&set.key, &set.maps_to, set.interval) =>
            {
                Presence::Kept
            }
            Some(_) => return Err(Redefined { kind: "set", name: name.clone() }),
        };
        let known: BTreeSet<&Element> = held.sets.get(name).into_iter().flat_map(|(_, elements)| elements).collect();
        let wanted: BTreeSet<&Element> = elements.iter().collect();
        let changed = SetDelta {
            set: set.clone(),
            presence,
            deleted: known.difference(&wanted).map(|element| (*element).clone()).collect(),
            added: wanted.difference(&known).map(|element| (*element).clone()).collect(),
        };
        if changed.presence != Presence::Kept || !changed.deleted.is_empty() || !changed.added.is_empty() {
            delta.sets.insert(name.clone(), changed);
        }
    }
    for (name, (chain, rules)) in &desired.chains {
        let presence = match held.chains.get(name) {
            None => Presence::Added,
            Some((known, known_rules)) if known.base == chain.base => {
                if known_rules == rules {
                    continue;
                }
                Presence::Kept
            }
            Some(_) => return Err(Redefined { kind: "chain", name: name.clone() }),
        };
        delta.chains.insert(name.clone(), ChainDelta { chain: chain.clone(), presence, rules: rules.clone() });
    }
    for (_, (chain, _)) in held.chains.iter().filter(|(name, _)| !desired.chains.contains_key(*name)) {
        delta.delete_chain(chain.clone());
    }
    for (_, (set, _)) in held.sets.iter().filter(|(name, _)| !desired.sets.contains_key(*name)) {
        delta.delete_set(set.clone());
    }
    Ok(delta)
}

/// The transaction that replaces the table, whatever it holds, by this ruleset. In between there is no moment at which
/// packets see neither.
pub fn replacement(desired: &Ruleset) -> Transaction {
    let mut transaction = Transaction::new(desired.table.clone());
    transaction.destroy_table();
    transaction.add_table();
    Delta::from_nothing(desired).write(&mut transaction);
    transaction
}

impl Delta {
    /// All of a ruleset.
    pub fn from_nothing(desired: &Ruleset) -> Self {
        let mut delta = Self::default();
        for (set, elements) in desired.sets.values() {
            delta.add_set(set.clone(), elements.clone());
        }
        for (chain, rules) in desired.chains.values() {
            delta.add_chain(chain.clone(), rules.clone());
        }
        delta
    }

    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.chains.is_empty()
    }

    /// A set that comes.
    pub(crate) fn add_set(&mut self, set: Set, added: Vec<Element>) {
        let name = set.name.clone();
        self.sets.insert(name, SetDelta { set, presence: Presence::Added, deleted: Vec::new(), added });
    }

    /// A set that goes; its elements go with it.
    pub(crate) fn delete_set(&mut self, set: Set) {
        let delta = SetDelta { set, presence: Presence::Deleted, deleted: Vec::new(), added: Vec::new() };
        if self
            .sets
            .insert(delta.set.name.clone(), delta.clone())
            .is_some_and(|known| known.presence == Presence::Added)
        {
            // It came only just now.
            self.sets.remove(&delta.set.name);
        }
    }

    /// A chain that comes.
    pub(crate) fn add_chain(&mut self, chain: Chain, rules: Vec<Rule>) {
        self.chains.insert(chain.name.clone(), ChainDelta { chain, presence: Presence::Added, rules });
    }

    /// A chain whose rules are others.
    pub(crate) fn replace_rules(&mut self, chain: Chain, rules: Vec<Rule>) {
        let known = self.chains.entry(chain.name.clone());
        known.or_insert(ChainDelta { chain, presence: Presence::Kept, rules: Vec::new() }).rules = rules;
    }

    /// A chain that goes.
    pub(crate) fn delete_chain(&mut self, chain: Chain) {
        let delta = ChainDelta { chain, presence: Presence::Deleted, rules: Vec::new() };
        let name = delta.chain.name.clone();
        if self.chains.insert(name.clone(), delta).is_some_and(|known| known.presence == Presence::Added) {
            self.chains.remove(&name);
        }
    }

    /// The elements of a set that change.
    pub(crate) fn elements(&mut self, set: &Set) -> &mut SetDelta {
        self.sets.entry(set.name.clone()).or_insert_with(|| SetDelta {
            set: set.clone(),
            presence: Presence::Kept,
            deleted: Vec::new(),
            added: Vec::new(),
        })
    }

    /// The transaction that makes the difference, on this table; empty if there is none.
    pub fn transaction(&self, table: &Table) -> Transaction {
        let mut transaction = Transaction::new(table.clone());
        self.write(&mut transaction);
        transaction
    }

    /// The same in one transaction, or in two where something new comes and something else begins to refer to it.
    ///
    /// A commit is one moment for rules only. Elements do not follow it (P25):
    /// - The kernel decides once per packet which rules are in force, and at every lookup anew which elements are: a packet can
    ///   be sent by a new element into a chain of before. One that comes in the same transaction has no rules there.
    /// - A set of ranges of several fields gets its elements all at once when everything else has been taken in, a while
    ///   after the rules: one that comes in the same transaction is empty for packets that meet the new rules meanwhile.
    ///
    /// So what is new comes first, while nobody refers to it.
    pub(crate) fn steps(&self, table: &Table) -> Vec<Transaction> {
        let presences = || {
            let chains = self.chains.values().map(|chain| chain.presence);
            chains.chain(self.sets.values().map(|set| set.presence))
        };
        if !(presences().any(|of| of == Presence::Added) && presences().any(|of| of == Presence::Kept)) {
            return vec![self.transaction(table)];
        }
        let [mut first, mut second] = [(); 2].map(|()| Transaction::new(table.clone()));
        self.write_objects(&mut first);
        self.write_contents(&mut first, |presence| presence == Presence::Added);
        self.write_contents(&mut second, |presence| presence == Presence::Kept);
        self.write_deletions(&mut second);
        vec![first, second]
    }

    fn write(&self, transaction: &mut Transaction) {
        self.write_objects(transaction);
        self.write_contents(transaction, |_| true);
        self.write_deletions(transaction);
    }

    /// Rules and elements of what is there after.
    fn write_contents(&self, transaction: &mut Transaction, of: impl Fn(Presence) -> bool) {
        // The kernel checks a reference when the rule or element that makes it is added: chains and sets exist by now.
        for ChainDelta { chain, presence, rules } in self.chains.values().filter(|chain| of(chain.presence)) {
            match presence {
                Presence::Added => rules.iter().for_each(|rule| transaction.add_rule(&chain.name, rule.clone())),
                Presence::Kept => transaction.replace_rules(&chain.name, rules.iter().cloned()),
                Presence::Deleted => {}
            }
        }
        for SetDelta { set, presence, deleted, added } in self.sets.values().filter(|set| of(set.presence)) {
            if *presence != Presence::Deleted {
                // A key whose value changes is deleted and added: deletions come first.
                transaction.delete_elements(set, deleted.iter().cloned());
                transaction.add_elements(set, added.iter().cloned());
            }
        }
    }

    /// New sets and chains, still empty.
    fn write_objects(&self, transaction: &mut Transaction) {
        for added in self.sets.values().filter(|set| set.presence == Presence::Added) {
            transaction.add_set(added.set.clone());
        }
        for added in self.chains.values().filter(|chain| chain.presence == Presence::Added) {
            transaction.add_chain(added.chain.clone());
        }
    }

    fn write_deletions(&self, transaction: &mut Transaction) {
        let gone: Vec<&str> =
            self.chains.values().filter(|chain| chain.presence == Presence::Deleted).map(ChainDelta::name).collect();
        // Their rules go first, all of them, since they refer to each other and to the sets that are to go.
        gone.iter().for_each(|name| transaction.flush_chain(*name));
        gone.iter().for_each(|name| transaction.delete_chain(*name));
        for gone in self.sets.values().filter(|set| set.presence == Presence::Deleted) {
            transaction.delete_set(gone.set.name.clone());
        }
    }
}

impl ChainDelta {
    fn name(&self) -> &str {
        &self.chain.name
    }
}
