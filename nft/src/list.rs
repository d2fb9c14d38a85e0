//! Reading what the kernel holds.

use crate::attribute::AttributeReader;
use crate::chain::{Base, Chain, ChainType, Hook, Policy};
use crate::connection::Connection;
use crate::element::Element;
use crate::element_wire::{RawElement, assemble};
use crate::error::Error;
use crate::set::{MapsTo, Set};
use crate::table::{Family, Table};
use crate::uapi::{chain, element, msg, rule, set, table, udata};
use crate::user_data::read_comment;
use crate::value::DataType;

/// A rule as the kernel holds it. Its expressions are decoded only by [`Connection::ruleset`]; its comment tells whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedRule {
    /// The chain that holds it.
    pub chain: String,
    /// By which it can be replaced or deleted.
    pub handle: u64,
    /// Its comment.
    pub comment: Option<String>,
}

/// Lists. All of them start again when the ruleset changes meanwhile, so that they are consistent in themselves; none of them
/// belongs on a hot path (P30).
///
/// # Errors
/// [`Error::List`]; the errno is `NOENT` if the table or set is not there, and `INTR` if the ruleset never stood still.
impl Connection {
    /// The tables of the families inet, ip and ip6.
    pub fn tables(&mut self) -> Result<Vec<Table>, Error> {
        let mut tables = Vec::new();
        for family in [Family::Inet, Family::Ip, Family::Ip6] {
            let read = |answer: AttributeReader<'_>, tables: &mut Vec<Table>| {
                tables.extend(answer.text(table::NAME).map(|name| Table::new(family, name)));
            };
            tables.extend(self.list(msg::GETTABLE, family, |_| {}, read)?);
        }
        Ok(tables)
    }

    /// The chains of a table, in the order of their making; none if there is no such table.
    pub fn chains(&mut self, table: &Table) -> Result<Vec<Chain>, Error> {
        // The kernel filters this list by family only.
        self.list(
            msg::GETCHAIN,
            table.family,
            |_| {},
            |answer, chains| {
                if answer.text(chain::TABLE).as_ref() == Some(&table.name) {
                    chains.extend(read_chain(answer));
                }
            },
        )
    }

    /// The named sets and maps of a table whose types we know.
    pub fn sets(&mut self, table: &Table) -> Result<Vec<Set>, Error> {
        let of_table = |request: &mut crate::attribute::AttributeWriter| request.text(set::TABLE, &table.name);
        self.list(msg::GETSET, table.family, of_table, |answer, sets| {
            sets.extend(read_set(answer).filter(|_| !is_anonymous(answer)));
        })
    }

    /// The elements of a set, in the order of their keys.
    pub fn elements(&mut self, table: &Table, set: &Set) -> Result<Vec<Element>, Error> {
        let of_set = |request: &mut crate::attribute::AttributeWriter| {
            request.text(element::LIST_TABLE, &table.name);
            request.text(element::LIST_SET, &set.name);
        };
        let raw = self.list(msg::GETSETELEM, table.family, of_set, |answer, elements| {
            let items = answer.get(element::LIST_ELEMENTS).into_iter().flat_map(AttributeReader::iter);
            elements.extend(items.filter_map(|(_, item)| RawElement::read(item, set)));
        })?;
        Ok(assemble(raw, set))
    }

    /// The rules of a table, chain by chain, in order.
    pub fn rules(&mut self, table: &Table) -> Result<Vec<ListedRule>, Error> {
        let of_table = |request: &mut crate::attribute::AttributeWriter| request.text(rule::TABLE, &table.name);
        self.list(msg::GETRULE, table.family, of_table, |answer, rules| {
            let comment = answer.get(rule::USERDATA).and_then(|data| read_comment(data.0, udata::COMMENT));
            if let (Some(chain), Some(handle)) = (answer.text(rule::CHAIN), answer.u64(rule::HANDLE)) {
                rules.push(ListedRule { chain, handle, comment });
            }
        })
    }
}

fn read_chain(answer: AttributeReader<'_>) -> Option<Chain> {
    let base = match answer.get(chain::HOOK) {
        None => None,
        Some(hook) => Some(Base {
            kind: ChainType::from_name(&answer.text(chain::TYPE)?)?,
            hook: Hook::from_number(hook.u32(chain::HOOK_HOOKNUM)?)?,
            priority: hook.u32(chain::HOOK_PRIORITY)? as i32,
            policy: if answer.u32(chain::POLICY)? == 0 { Policy::Drop } else { Policy::Accept },
        }),
    };
    let comment = answer.get(chain::USERDATA).and_then(|data| read_comment(data.0, udata::COMMENT));
    Some(Chain { name: answer.text(chain::NAME)?, base, comment })
}

/// Whether a set belongs to a rule alone.
pub(crate) fn is_anonymous(answer: AttributeReader<'_>) -> bool {
    answer.u32(set::FLAGS).unwrap_or(0) & set::F_ANONYMOUS != 0
}

/// Reads a set or map; `None` if we do not know one of its types.
pub(crate) fn read_set(answer: AttributeReader<'_>) -> Option<Set> {
    let flags = answer.u32(set::FLAGS).unwrap_or(0);
    let maps_to = match answer.u32(set::DATA_TYPE).filter(|_| flags & set::F_MAP != 0) {
        None => MapsTo::Nothing,
        Some(set::VERDICT) => MapsTo::Verdict,
        Some(id) => MapsTo::Data(read_concatenation(id)?),
    };
    Some(Set {
        name: answer.text(set::NAME)?,
        key: read_concatenation(answer.u32(set::KEY_TYPE)?)?,
        maps_to,
        interval: flags & set::F_INTERVAL != 0,
        filled_by_packets: answer
            .get(set::DESC)
            .filter(|_| flags & set::F_EVAL != 0)
            .and_then(|description| description.u32(set::DESC_SIZE)),
        comment: answer.get(set::USERDATA).and_then(|data| read_comment(data.0, udata::SET_COMMENT)),
    })
}

/// The types of a concatenation, which has six bits for each; `None` if we do not know one of them.
fn read_concatenation(mut id: u32) -> Option<Vec<DataType>> {
    let mut types = Vec::new();
    while id != 0 {
        types.push(DataType::ALL.into_iter().chain([DataType::Integer]).find(|data_type| data_type.id() == id & 0x3f)?);
        id >>= 6;
    }
    types.reverse();
    Some(types)
}
