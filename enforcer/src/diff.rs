//! The smallest transaction that turns one ruleset into another.
//!
//! What is added comes before what refers to it, what is deleted after it; a chain whose rules differ gets them anew, a set
//! or map gets and loses elements (P25). Base chains stay where they are (P26).

use std::collections::BTreeSet;

use netpol_nft::{Element, Ruleset, Transaction};

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

/// The transaction that leads from what the kernel holds to what it is to hold; empty if they are the same.
pub fn diff(held: &Ruleset, desired: &Ruleset) -> Result<Transaction, Redefined> {
    let mut transaction = Transaction::new(desired.table.clone());
    add(&mut transaction, held, desired)?;
    Ok(transaction)
}

/// The transaction that replaces the table, whatever it holds, by this ruleset. In between there is no moment at which
/// packets see neither.
pub fn replacement(desired: &Ruleset) -> Result<Transaction, Redefined> {
    let mut transaction = Transaction::new(desired.table.clone());
    transaction.destroy_table();
    transaction.add_table();
    add(&mut transaction, &Ruleset::new(desired.table.clone()), desired)?;
    Ok(transaction)
}

fn add(transaction: &mut Transaction, held: &Ruleset, desired: &Ruleset) -> Result<(), Redefined> {
    for (name, (set, _)) in &desired.sets {
        match held.sets.get(name) {
            None => transaction.add_set(set.clone()),
            Some((known, _)) if known == set => {}
            Some(_) => return Err(Redefined { kind: "set", name: name.clone() }),
        }
    }
    for (name, (chain, _)) in &desired.chains {
        match held.chains.get(name) {
            None => transaction.add_chain(chain.clone()),
            Some((known, _)) if known.base == chain.base => {}
            Some(_) => return Err(Redefined { kind: "chain", name: name.clone() }),
        }
    }
    // The kernel checks a reference when the rule or element that makes it is added: chains and sets exist by now.
    for (name, (_, rules)) in &desired.chains {
        match held.chains.get(name) {
            Some((_, known)) if known == rules => {}
            Some(_) => transaction.replace_rules(name, rules.iter().cloned()),
            None => rules.iter().for_each(|rule| transaction.add_rule(name, rule.clone())),
        }
    }
    for (name, (set, elements)) in &desired.sets {
        let known: BTreeSet<&Element> = held.sets.get(name).into_iter().flat_map(|(_, elements)| elements).collect();
        let wanted: BTreeSet<&Element> = elements.iter().collect();
        // A key whose value changes is deleted and added: deletions come first.
        transaction.delete_elements(set, known.difference(&wanted).map(|element| (*element).clone()));
        transaction.add_elements(set, wanted.difference(&known).map(|element| (*element).clone()));
    }
    let gone: Vec<&String> = held.chains.keys().filter(|name| !desired.chains.contains_key(*name)).collect();
    // Their rules go first, all of them, since they refer to each other and to the sets that are to go.
    gone.iter().for_each(|name| transaction.flush_chain(*name));
    gone.iter().for_each(|name| transaction.delete_chain(*name));
    for name in held.sets.keys().filter(|name| !desired.sets.contains_key(*name)) {
        transaction.delete_set(name);
    }
    Ok(())
}
