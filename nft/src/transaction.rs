//! Changes that take effect together or not at all.

use std::fmt;

use crate::chain::Chain;
use crate::element::Element;
use crate::rule::Rule;
use crate::set::Set;
use crate::table::Table;

/// A list of operations on one table, applied in order and atomically by [`Connection::apply`](crate::Connection::apply).
///
/// Every verb is the one of `nft`. Order matters: add sets and chains before rules that name them, delete them after the rules
/// are gone (P25). An element can be deleted and added again with another value in the same transaction. The text of a
/// transaction is a script for `nft -f`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    pub(crate) table: Table,
    pub(crate) operations: Vec<Operation>,
}

/// One operation on the transaction's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    AddTable,
    DeleteTable,
    FlushTable,
    AddChain(Chain),
    DeleteChain(String),
    FlushChain(String),
    AddSet(Set),
    DeleteSet(String),
    FlushSet(String),
    AddElements(Set, Vec<Element>),
    DeleteElements(Set, Vec<Element>),
    AddRule { chain: String, rule: Rule },
    InsertRule { chain: String, rule: Rule },
    ReplaceRule { chain: String, handle: u64, rule: Rule },
    DeleteRule { chain: String, handle: u64 },
}

impl Transaction {
    /// No operation yet, on this table.
    pub fn new(table: Table) -> Self {
        Self { table, operations: Vec::new() }
    }

    /// The table that all operations are about.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// The number of operations.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Adds the table; it may be there already.
    pub fn add_table(&mut self) {
        self.operations.push(Operation::AddTable);
    }

    /// Deletes the table with all that it holds; it must be there. See [`Chain::base`] on what else goes with base chains (P26).
    pub fn delete_table(&mut self) {
        self.operations.push(Operation::DeleteTable);
    }

    /// Deletes the table whether it is there or not. Works on kernels without the newer message of that name as well.
    pub fn destroy_table(&mut self) {
        self.add_table();
        self.delete_table();
    }

    /// Deletes all rules of all chains; chains, sets and elements stay.
    pub fn flush_table(&mut self) {
        self.operations.push(Operation::FlushTable);
    }

    /// Adds a chain; it may be there already with the same hook. The policy of a base chain is changed.
    pub fn add_chain(&mut self, chain: Chain) {
        self.operations.push(Operation::AddChain(chain));
    }

    /// Deletes a chain with its rules; nothing may refer to it any more.
    pub fn delete_chain(&mut self, chain: impl Into<String>) {
        let chain = chain.into();
        self.operations.push(Operation::FlushChain(chain.clone()));
        self.operations.push(Operation::DeleteChain(chain));
    }

    /// Deletes all rules of a chain.
    pub fn flush_chain(&mut self, chain: impl Into<String>) {
        self.operations.push(Operation::FlushChain(chain.into()));
    }

    /// Adds a set or map; it may be there already with the same type.
    pub fn add_set(&mut self, set: Set) {
        self.operations.push(Operation::AddSet(set));
    }

    /// Deletes a set or map with its elements; no rule may refer to it any more.
    pub fn delete_set(&mut self, set: impl Into<String>) {
        self.operations.push(Operation::DeleteSet(set.into()));
    }

    /// Deletes all elements of a set or map.
    pub fn flush_set(&mut self, set: impl Into<String>) {
        self.operations.push(Operation::FlushSet(set.into()));
    }

    /// Adds elements. A key that is there already stays if its value is the same, else the transaction fails: delete it first.
    pub fn add_elements(&mut self, set: &Set, elements: impl IntoIterator<Item = Element>) {
        let elements: Vec<Element> = elements.into_iter().collect();
        if !elements.is_empty() {
            self.operations.push(Operation::AddElements(set.clone(), elements));
        }
    }

    /// Deletes elements by key and end; their values and comments do not matter. They must be there.
    pub fn delete_elements(&mut self, set: &Set, elements: impl IntoIterator<Item = Element>) {
        let elements: Vec<Element> = elements.into_iter().collect();
        if !elements.is_empty() {
            self.operations.push(Operation::DeleteElements(set.clone(), elements));
        }
    }

    /// Replaces all elements of a set or map.
    pub fn replace_elements(&mut self, set: &Set, elements: impl IntoIterator<Item = Element>) {
        self.flush_set(&set.name);
        self.add_elements(set, elements);
    }

    /// Adds a rule at the end of a chain.
    pub fn add_rule(&mut self, chain: impl Into<String>, rule: Rule) {
        self.operations.push(Operation::AddRule { chain: chain.into(), rule });
    }

    /// Adds a rule at the beginning of a chain.
    pub fn insert_rule(&mut self, chain: impl Into<String>, rule: Rule) {
        self.operations.push(Operation::InsertRule { chain: chain.into(), rule });
    }

    /// Replaces the rule of this handle.
    pub fn replace_rule(&mut self, chain: impl Into<String>, handle: u64, rule: Rule) {
        self.operations.push(Operation::ReplaceRule { chain: chain.into(), handle, rule });
    }

    /// Deletes the rule of this handle.
    pub fn delete_rule(&mut self, chain: impl Into<String>, handle: u64) {
        self.operations.push(Operation::DeleteRule { chain: chain.into(), handle });
    }

    /// Replaces all rules of a chain, which stays where it is (P26).
    pub fn replace_rules(&mut self, chain: impl Into<String>, rules: impl IntoIterator<Item = Rule>) {
        let chain = chain.into();
        self.flush_chain(&chain);
        rules.into_iter().for_each(|rule| self.add_rule(&chain, rule));
    }

    /// An operation as a command of nft.
    pub(crate) fn text(&self, operation: &Operation) -> String {
        let table = &self.table;
        let list = |elements: &[Element]| elements.iter().map(Element::to_string).collect::<Vec<_>>().join(", ");
        match operation {
            Operation::AddTable => format!("add table {table}"),
            Operation::DeleteTable => format!("delete table {table}"),
            Operation::FlushTable => format!("flush table {table}"),
            Operation::AddChain(Chain { name, base, comment }) => {
                let base = base.as_ref().map(ToString::to_string);
                let comment = comment.as_ref().map(|comment| format!("comment \"{comment}\";"));
                match [comment, base].into_iter().flatten().collect::<Vec<_>>() {
                    body if body.is_empty() => format!("add chain {table} {name}"),
                    body => format!("add chain {table} {name} {{ {} }}", body.join(" ")),
                }
            }
            Operation::DeleteChain(name) => format!("delete chain {table} {name}"),
            Operation::FlushChain(name) => format!("flush chain {table} {name}"),
            Operation::AddSet(set) => {
                let more: String = set.properties().iter().map(|property| format!(" {property};")).collect();
                format!("add {} {table} {} {{ type {set};{more} }}", set.keyword(), set.name)
            }
            Operation::DeleteSet(name) => format!("delete set {table} {name}"),
            Operation::FlushSet(name) => format!("flush set {table} {name}"),
            Operation::AddElements(set, elements) => {
                format!("add element {table} {} {{ {} }}", set.name, list(elements))
            }
            Operation::DeleteElements(set, elements) => {
                format!("delete element {table} {} {{ {} }}", set.name, list(elements))
            }
            Operation::AddRule { chain, rule } => format!("add rule {table} {chain} {}", rule.text(table.family)),
            Operation::InsertRule { chain, rule } => format!("insert rule {table} {chain} {}", rule.text(table.family)),
            Operation::ReplaceRule { chain, handle, rule } => {
                format!("replace rule {table} {chain} handle {handle} {}", rule.text(table.family))
            }
            Operation::DeleteRule { chain, handle } => format!("delete rule {table} {chain} handle {handle}"),
        }
    }
}

impl fmt::Display for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.operations.iter().try_for_each(|operation| writeln!(f, "{}", self.text(operation)))
    }
}
