//! A whole table as the kernel holds it, to be compared with what it should hold.

use crate::attribute::{AttributeReader, AttributeWriter};
use crate::connection::Connection;
use crate::decode::{KnownSets, decode};
use crate::error::Error;
use crate::list::{is_anonymous, read_set};
use crate::rule::Rule;
use crate::ruleset::Ruleset;
use crate::statement::explicit;
use crate::table::Table;
use crate::uapi::{generation, msg, rule, set, udata};
use crate::user_data::read_comment;
use crate::{Errno, Set};

/// How often a table is read anew because the ruleset changed meanwhile.
const ATTEMPTS: u32 = 20;

impl Connection {
    /// The number of the ruleset's generation, which every transaction of anybody in the network namespace changes.
    ///
    /// # Errors
    /// [`Error::List`].
    pub fn generation(&mut self) -> Result<u32, Error> {
        let mut id = None;
        self.ask(msg::GETGEN, |answer| id = answer.u32(generation::ID))?;
        id.ok_or(Error::Unanswered)
    }

    /// A table with all that it holds, as it was at one moment; `None` if it is not there. Rules are in the form that
    /// [`Ruleset::canonical`] gives them; what we never write is in them as something that equals nothing.
    ///
    /// Takes a dump for the table and one for each set: for starts and inspections, not for hot paths (P30).
    ///
    /// # Errors
    /// [`Error::List`]; the errno is `INTR` if the ruleset never stood still.
    pub fn ruleset(&mut self, table: &Table) -> Result<Option<Ruleset>, Error> {
        for _ in 0..ATTEMPTS {
            let before = self.generation()?;
            let found = match self.read_ruleset(table) {
                // A set that was listed a moment ago has gone.
                Err(Error::List { errno: Errno::NOENT }) => continue,
                found => found?,
            };
            if self.generation()? == before {
                return Ok(found);
            }
        }
        Err(Error::List { errno: Errno::INTR })
    }

    fn read_ruleset(&mut self, table: &Table) -> Result<Option<Ruleset>, Error> {
        if !self.tables()?.contains(table) {
            return Ok(None);
        }
        let mut ruleset = Ruleset::new(table.clone());
        let mut known = KnownSets::new();
        for (set, anonymous) in self.all_sets(table)? {
            let elements = self.elements(table, &set)?;
            if anonymous {
                known.insert(set.name.clone(), (set, Some(elements)));
            } else {
                known.insert(set.name.clone(), (set.clone(), None));
                ruleset.set(set, elements);
            }
        }
        self.chains(table)?.into_iter().for_each(|chain| ruleset.chain(chain, []));
        let of_table = |request: &mut AttributeWriter| request.text(rule::TABLE, &table.name);
        let rules = self.list(msg::GETRULE, table.family, of_table, |answer, rules: &mut Vec<(String, Rule)>| {
            let comment = answer.get(rule::USERDATA).and_then(|data| read_comment(data.0, udata::COMMENT));
            let expressions = answer.get(rule::EXPRESSIONS).unwrap_or(AttributeReader(&[]));
            if let Some(chain) = answer.text(rule::CHAIN) {
                rules.push((chain, Rule { statements: decode(expressions, &known), comment }));
            }
        })?;
        for (name, rule) in rules {
            if let Some((_, rules)) = ruleset.chains.get_mut(&name) {
                rules.push(rule);
            }
        }
        Ok(Some(ruleset.canonical()))
    }

    /// All sets whose types we know, and whether they belong to a rule alone.
    fn all_sets(&mut self, table: &Table) -> Result<Vec<(Set, bool)>, Error> {
        let of_table = |request: &mut AttributeWriter| request.text(set::TABLE, &table.name);
        self.list(msg::GETSET, table.family, of_table, |answer, sets| {
            sets.extend(read_set(answer).map(|set| (set, is_anonymous(answer))));
        })
    }
}

impl Ruleset {
    /// The same ruleset with everything spelt out and in order, so that two are equal if and only if the kernel does the
    /// same with them. What [`Connection::ruleset`] reads is of this form.
    pub fn canonical(mut self) -> Self {
        for (_, elements) in self.sets.values_mut() {
            elements.sort();
        }
        for rule in self.chains.values_mut().flat_map(|(_, rules)| rules) {
            rule.statements = explicit(&rule.statements, self.table.family);
        }
        self
    }
}
