//! What rules, sets and maps do to real packets.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod filtering;
#[path = "../loopback/mod.rs"]
mod loopback;
#[path = "../scratch/mod.rs"]
mod scratch;
mod translations;

use netpol_nft::{Chain, ChainType, Connection, Hook, Policy, Rule, Ruleset, Table, Transaction, priority};

pub(crate) fn output() -> Chain {
    Chain::base("output", ChainType::Filter, Hook::Output, priority::FILTER, Policy::Accept)
}

/// A table with an output chain of these rules.
pub(crate) fn with_rules(rules: impl IntoIterator<Item = Rule>) -> Ruleset {
    let mut ruleset = Ruleset::new(Table::inet("scratch"));
    ruleset.chain(output(), rules);
    ruleset
}

pub(crate) fn apply(connection: &mut Connection, ruleset: &Ruleset) {
    let mut transaction = Transaction::new(ruleset.table.clone());
    transaction.destroy_table();
    connection.apply(&transaction).unwrap();
    connection.apply(&ruleset.load()).unwrap();
}
