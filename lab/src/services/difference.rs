//! From the table that a node has to the one that it is to have, in one transaction. Base chains stay (P26), sets and
//! chains come before what refers to them and go after it (P25).

use std::collections::BTreeMap;

use netpol_nft::{Element, Ruleset, Transaction};

/// What changes `held` into `wanted`; empty if nothing does. Without `held` the table is made, whatever was there.
pub(super) fn difference(held: Option<&Ruleset>, wanted: &Ruleset) -> Transaction {
    let Some(held) = held else { return wanted.load() };
    let mut change = Transaction::new(wanted.table.clone());
    for (name, (set, _)) in &wanted.sets {
        if !held.sets.contains_key(name) {
            change.add_set(set.clone());
        }
    }
    for (name, (chain, _)) in &wanted.chains {
        if !held.chains.contains_key(name) {
            change.add_chain(chain.clone());
        }
    }
    for (name, (_, rules)) in &wanted.chains {
        match held.chains.get(name) {
            Some((_, present)) if present == rules => {}
            Some(_) => change.replace_rules(name, rules.iter().cloned()),
            None => rules.iter().for_each(|rule| change.add_rule(name, rule.clone())),
        }
    }
    for (name, (set, elements)) in &wanted.sets {
        let before = by_key(held.sets.get(name).map(|(_, elements)| elements.as_slice()).unwrap_or_default());
        let after = by_key(elements);
        let gone = before.iter().filter(|(key, element)| after.get(*key) != Some(*element)).map(|(_, e)| (*e).clone());
        let added = after.iter().filter(|(key, element)| before.get(*key) != Some(*element)).map(|(_, e)| (*e).clone());
        change.delete_elements(set, gone);
        change.add_elements(set, added);
    }
    for name in held.chains.keys().filter(|name| !wanted.chains.contains_key(*name)) {
        change.flush_chain(name);
    }
    for name in held.chains.keys().filter(|name| !wanted.chains.contains_key(*name)) {
        change.delete_chain(name);
    }
    for name in held.sets.keys().filter(|name| !wanted.sets.contains_key(*name)) {
        change.delete_set(name);
    }
    change
}

fn by_key(elements: &[Element]) -> BTreeMap<&netpol_nft::Key, &Element> {
    elements.iter().map(|element| (&element.key, element)).collect()
}
