//! A whole table as a value: what a dry run prints and a transaction loads.

use std::collections::BTreeMap;
use std::fmt;

use crate::chain::Chain;
use crate::element::Element;
use crate::rule::Rule;
use crate::set::Set;
use crate::table::Table;
use crate::transaction::Transaction;

/// A table with all that it holds. Its text is what `nft --stateless list table` prints, and what `nft -f` reads; only long
/// lists of elements are broken into lines otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    /// The table.
    pub table: Table,
    /// Its sets and maps by name, with their elements.
    pub sets: BTreeMap<String, (Set, Vec<Element>)>,
    /// Its chains by name, with their rules.
    pub chains: BTreeMap<String, (Chain, Vec<Rule>)>,
}

impl Ruleset {
    /// An empty table.
    pub fn new(table: Table) -> Self {
        Self { table, sets: BTreeMap::new(), chains: BTreeMap::new() }
    }

    /// Adds a set with its elements.
    pub fn set(&mut self, set: Set, elements: impl IntoIterator<Item = Element>) {
        self.sets.insert(set.name.clone(), (set, elements.into_iter().collect()));
    }

    /// Adds a chain with its rules.
    pub fn chain(&mut self, chain: Chain, rules: impl IntoIterator<Item = Rule>) {
        self.chains.insert(chain.name.clone(), (chain, rules.into_iter().collect()));
    }

    /// The transaction that loads all of it into a table that is absent or empty.
    ///
    /// Objects come before what refers to them: sets, chains, elements, rules (P25).
    pub fn load(&self) -> Transaction {
        let mut transaction = Transaction::new(self.table.clone());
        transaction.add_table();
        self.sets.values().for_each(|(set, _)| transaction.add_set(set.clone()));
        self.chains.values().for_each(|(chain, _)| transaction.add_chain(chain.clone()));
        self.sets.values().for_each(|(set, elements)| transaction.add_elements(set, elements.iter().cloned()));
        for (chain, rules) in self.chains.values() {
            rules.iter().for_each(|rule| transaction.add_rule(&chain.name, rule.clone()));
        }
        transaction
    }
}

impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {} {{", self.table)?;
        let mut separator = "";
        for (set, elements) in self.sets.values() {
            writeln!(f, "{separator}\t{} {} {{", set.keyword(), set.name)?;
            writeln!(f, "\t\ttype {set}")?;
            for property in set.properties() {
                writeln!(f, "\t\t{property}")?;
            }
            if !elements.is_empty() {
                let elements: Vec<String> = elements.iter().map(Element::to_string).collect();
                writeln!(f, "\t\telements = {{ {} }}", elements.join(",\n\t\t\t     "))?;
            }
            writeln!(f, "\t}}")?;
            separator = "\n";
        }
        for (chain, rules) in self.chains.values() {
            writeln!(f, "{separator}\tchain {} {{", chain.name)?;
            if let Some(comment) = &chain.comment {
                writeln!(f, "\t\tcomment \"{comment}\"")?;
            }
            if let Some(base) = &chain.base {
                writeln!(f, "\t\t{base}")?;
            }
            for rule in rules {
                writeln!(f, "\t\t{}", rule.text(self.table.family))?;
            }
            writeln!(f, "\t}}")?;
            separator = "\n";
        }
        writeln!(f, "}}")
    }
}
