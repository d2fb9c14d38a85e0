//! A difference in several transactions, where one is not allowed to hold all of it: a user namespace limits it.
//!
//! What is new and what nobody refers to any more can be written in any portions: no packet meets it. Between them comes what
//! packets do meet, in one transaction if it fits.

use std::collections::BTreeMap;

use netpol_nft::{Chain, Element, ElementValue, Key, Rule, Set, Table, Transaction, Verdict};

use super::{Delta, Presence, SetDelta};

/// What an operation takes at most beside the names in it, in bytes.
const ELEMENT: usize = 96;
const RULE: usize = 512;
const OBJECT: usize = 320;

impl Delta {
    /// The same as [`Delta::transaction`] in transactions of about this many bytes at most.
    pub(crate) fn parts(&self, table: &Table, limit: usize) -> Vec<Transaction> {
        let mut parts =
            Parts { table, limit: limit / 2, done: Vec::new(), open: Transaction::new(table.clone()), bytes: 0 };
        for new in self.sets.values().filter(|set| set.presence == Presence::Added) {
            parts.push(OBJECT, |part| part.add_set(new.set.clone()));
            new.added.iter().for_each(|element| parts.add_element(&new.set, element));
        }
        let new = || self.chains.values().filter(|chain| chain.presence == Presence::Added);
        new().for_each(|new| parts.push(OBJECT, |part| part.add_chain(new.chain.clone())));
        for new in new() {
            new.rules.iter().for_each(|rule| parts.add_rule(&new.chain, rule));
        }
        parts.cut();
        for kept in self.chains.values().filter(|chain| chain.presence == Presence::Kept) {
            let bytes = RULE * (1 + kept.rules.len());
            parts.push(bytes, |part| part.replace_rules(&kept.chain.name, kept.rules.iter().cloned()));
        }
        for kept in self.sets.values().filter(|set| set.presence == Presence::Kept) {
            parts.change_elements(kept);
        }
        parts.cut();
        let gone = || self.chains.values().filter(|chain| chain.presence == Presence::Deleted);
        gone().for_each(|gone| parts.push(OBJECT, |part| part.flush_chain(gone.chain.name.clone())));
        gone().for_each(|gone| parts.push(OBJECT, |part| part.delete_chain(gone.chain.name.clone())));
        for gone in self.sets.values().filter(|set| set.presence == Presence::Deleted) {
            parts.push(OBJECT, |part| part.delete_set(gone.set.name.clone()));
        }
        parts.cut();
        parts.done
    }
}

struct Parts<'a> {
    table: &'a Table,
    limit: usize,
    done: Vec<Transaction>,
    open: Transaction,
    bytes: usize,
}

impl Parts<'_> {
    fn push(&mut self, bytes: usize, write: impl FnOnce(&mut Transaction)) {
        if self.bytes + bytes > self.limit {
            self.cut();
        }
        self.bytes += bytes;
        write(&mut self.open);
    }

    fn cut(&mut self) {
        self.bytes = 0;
        let full = std::mem::replace(&mut self.open, Transaction::new(self.table.clone()));
        if !full.is_empty() {
            self.done.push(full);
        }
    }

    fn add_element(&mut self, set: &Set, element: &Element) {
        self.push(size(element) + set.name.len(), |part| part.add_elements(set, [element.clone()]));
    }

    fn add_rule(&mut self, chain: &Chain, rule: &Rule) {
        self.push(RULE, |part| part.add_rule(&chain.name, rule.clone()));
    }

    /// A key whose value changes goes and comes in the same transaction.
    fn change_elements(&mut self, changed: &SetDelta) {
        let mut by_key: BTreeMap<&Key, (Option<&Element>, Option<&Element>)> = BTreeMap::new();
        changed.deleted.iter().for_each(|element| by_key.entry(&element.key).or_default().0 = Some(element));
        changed.added.iter().for_each(|element| by_key.entry(&element.key).or_default().1 = Some(element));
        for (deleted, added) in by_key.into_values() {
            let bytes: usize =
                [deleted, added].into_iter().flatten().map(|element| size(element) + changed.set.name.len()).sum();
            self.push(bytes, |part| {
                part.delete_elements(&changed.set, deleted.cloned());
                part.add_elements(&changed.set, added.cloned());
            });
        }
    }
}

fn size(element: &Element) -> usize {
    let value = match &element.value {
        Some(ElementValue::Verdict(Verdict::Goto(chain) | Verdict::Jump(chain))) => chain.len(),
        _ => 0,
    };
    ELEMENT + value + element.comment.as_ref().map_or(0, String::len)
}
