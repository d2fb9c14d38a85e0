//! Operations as netlink messages.

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_REPLACE};

use crate::attribute::AttributeWriter;
use crate::batch::Batch;
use crate::chain::{Chain, Policy};
use crate::element::Element;
use crate::element_wire::write_element;
use crate::error::InvalidObject;
use crate::expression::ExpressionWriter;
use crate::rule::Rule;
use crate::set::{MapsTo, Set};
use crate::statement::{Statement, explicit};
use crate::table::Table;
use crate::transaction::Operation;
use crate::uapi::{self, data, msg, udata};
use crate::user_data::{comment, host_order};
use crate::value::DataType;

/// Bytes of elements after which the next message begins. The list's length must fit 16 bits, and no element is longer than
/// the rest.
const CHUNK: usize = 60_000;
/// The longest key or value, in the kernel's registers.
const REGISTERS_SIZE: usize = 64;

/// Writes the messages of one operation.
pub(crate) struct OperationWriter<'a> {
    pub(crate) batch: &'a mut Batch,
    pub(crate) table: &'a Table,
    /// The operation's index.
    pub(crate) owner: usize,
}

impl OperationWriter<'_> {
    /// Writes all messages of an operation, or says why it has none.
    pub(crate) fn write(&mut self, operation: &Operation) -> Result<(), InvalidObject> {
        name(&self.table.name)?;
        match operation {
            Operation::AddTable => self.table_message(msg::NEWTABLE),
            Operation::DeleteTable => self.table_message(msg::DELTABLE),
            Operation::FlushTable => self.rule_message(msg::DELRULE, None, |_| {}),
            Operation::AddChain(chain) => self.add_chain(chain)?,
            Operation::DeleteChain(chain) => {
                self.named_message(msg::DELCHAIN, (uapi::chain::TABLE, uapi::chain::NAME), chain);
            }
            Operation::FlushChain(chain) => self.rule_message(msg::DELRULE, Some(chain), |_| {}),
            Operation::AddSet(set) => self.add_set(set)?,
            Operation::DeleteSet(set) => self.named_message(msg::DELSET, (uapi::set::TABLE, uapi::set::NAME), set),
            Operation::FlushSet(set) => self.elements_message(msg::DELSETELEM, set, None, &[]),
            Operation::AddElements(set, elements) => {
                let elements = elements.iter().map(|element| write_element(set, element, true));
                self.elements(msg::NEWSETELEM, set, None, elements)?;
            }
            Operation::DeleteElements(set, elements) => {
                let elements = elements.iter().map(|element| write_element(set, element, false));
                self.elements(msg::DELSETELEM, set, None, elements)?;
            }
            Operation::AddRule { chain, rule } => self.rule(chain, rule, NLM_F_CREATE | NLM_F_APPEND, None)?,
            Operation::InsertRule { chain, rule } => self.rule(chain, rule, NLM_F_CREATE, None)?,
            Operation::ReplaceRule { chain, handle, rule } => self.rule(chain, rule, NLM_F_REPLACE, Some(*handle))?,
            Operation::DeleteRule { chain, handle } => {
                let handle = *handle;
                self.rule_message(msg::DELRULE, Some(chain), |rule| rule.u64(uapi::rule::HANDLE, handle));
            }
        }
        Ok(())
    }

    fn table_message(&mut self, kind: u16) {
        let table = self.table;
        self.message(kind, if kind == msg::NEWTABLE { NLM_F_CREATE } else { 0 }, |message| {
            message.text(uapi::table::NAME, &table.name);
        });
    }

    fn named_message(&mut self, kind: u16, (table_kind, name_kind): (u16, u16), name: &str) {
        let table = self.table;
        self.message(kind, 0, |message| {
            message.text(table_kind, &table.name);
            message.text(name_kind, name);
        });
    }

    fn add_chain(&mut self, chain: &Chain) -> Result<(), InvalidObject> {
        name(&chain.name)?;
        let comment = comment(udata::COMMENT, chain.comment.as_deref())?;
        let table = self.table;
        self.message(msg::NEWCHAIN, NLM_F_CREATE, |message| {
            message.text(uapi::chain::TABLE, &table.name);
            message.text(uapi::chain::NAME, &chain.name);
            if let Some(base) = &chain.base {
                message.nest(uapi::chain::HOOK, |hook| {
                    hook.u32(uapi::chain::HOOK_HOOKNUM, base.hook.number());
                    hook.bytes(uapi::chain::HOOK_PRIORITY, &base.priority.to_be_bytes());
                });
                message.u32(uapi::chain::POLICY, u32::from(base.policy == Policy::Accept));
                message.text(uapi::chain::TYPE, base.kind.name());
            }
            if let Some(comment) = comment {
                message.bytes(uapi::chain::USERDATA, &comment);
            }
        });
        Ok(())
    }

    fn add_set(&mut self, set: &Set) -> Result<(), InvalidObject> {
        name(&set.name)?;
        self.declare_set(set, 0).map(|_| ())
    }

    /// Writes the message of a set, with more flags than it tells itself. Returns its number in the batch.
    fn declare_set(&mut self, set: &Set, more_flags: u32) -> Result<u32, InvalidObject> {
        let mut notes = Vec::new();
        if matches!(set.key[..], [only] if only.in_host_order()) {
            notes.extend(host_order(udata::SET_KEY_BYTE_ORDER));
        }
        if matches!(&set.maps_to, MapsTo::Data(types) if matches!(types[..], [only] if only.in_host_order())) {
            notes.extend(host_order(udata::SET_DATA_BYTE_ORDER));
        }
        notes.extend(comment(udata::SET_COMMENT, set.comment.as_deref())?.unwrap_or_default());
        let key_size = concatenation_size(&set.key)?;
        let data = match &set.maps_to {
            MapsTo::Nothing => None,
            MapsTo::Verdict => Some((uapi::set::VERDICT, None)),
            MapsTo::Data(types) => Some((concatenation_id(types), Some(concatenation_size(types)?))),
        };
        if let [data_type] = set.key[..]
            && set.interval
            && data_type.in_host_order()
        {
            return Err(InvalidObject::Unordered { set: set.name.clone(), data_type });
        }
        let ranges_of_fields = set.interval && set.key.len() > 1;
        let flag = |condition: bool, flag: u32| if condition { flag } else { 0 };
        let flags = flag(set.interval, uapi::set::F_INTERVAL)
            | flag(data.is_some(), uapi::set::F_MAP)
            | flag(ranges_of_fields, uapi::set::F_CONCAT)
            | flag(set.filled_by_packets.is_some(), uapi::set::F_TIMEOUT | uapi::set::F_EVAL)
            | more_flags;
        // Unique in the batch; the kernel wants one, though we refer to named sets by their name.
        let id = self.batch.messages();
        let table = self.table;
        self.message(msg::NEWSET, NLM_F_CREATE, |message| {
            message.text(uapi::set::TABLE, &table.name);
            message.text(uapi::set::NAME, &set.name);
            message.u32(uapi::set::FLAGS, flags);
            message.u32(uapi::set::KEY_TYPE, concatenation_id(&set.key));
            message.u32(uapi::set::KEY_LEN, key_size as u32);
            message.u32(uapi::set::ID, id);
            if let Some((data_type, size)) = data {
                message.u32(uapi::set::DATA_TYPE, data_type);
                if let Some(size) = size {
                    message.u32(uapi::set::DATA_LEN, size as u32);
                }
            }
            if let Some(most) = set.filled_by_packets {
                message.nest(uapi::set::DESC, |description| description.u32(uapi::set::DESC_SIZE, most));
            }
            if ranges_of_fields {
                message.nest(uapi::set::DESC, |description| {
                    description.nest(uapi::set::DESC_CONCAT, |fields| {
                        for field in &set.key {
                            fields.nest(data::LIST_ELEM, |item| item.u32(uapi::set::FIELD_LEN, field.size() as u32));
                        }
                    });
                });
            }
            if !notes.is_empty() {
                message.bytes(uapi::set::USERDATA, &notes);
            }
        });
        Ok(id)
    }

    /// Writes a set that belongs to one rule. Returns its number in the batch, by which the rule refers to it.
    fn anonymous_set(&mut self, set: &Set, elements: &[Element]) -> Result<u32, InvalidObject> {
        let id = self.declare_set(set, uapi::set::F_ANONYMOUS | uapi::set::F_CONSTANT)?;
        let elements = elements.iter().map(|element| write_element(set, element, true));
        self.elements(msg::NEWSETELEM, set, Some(id), elements)?;
        Ok(id)
    }

    fn elements(
        &mut self,
        kind: u16,
        set: &Set,
        id: Option<u32>,
        elements: impl Iterator<Item = Result<Vec<u8>, InvalidObject>>,
    ) -> Result<(), InvalidObject> {
        let mut list = Vec::new();
        for element in elements {
            list.extend(element?);
            if list.len() > CHUNK {
                self.elements_message(kind, &set.name, id, &list);
                list.clear();
            }
        }
        if !list.is_empty() {
            self.elements_message(kind, &set.name, id, &list);
        }
        Ok(())
    }

    /// A message about these elements; with none: about all elements of the set.
    fn elements_message(&mut self, kind: u16, set: &str, id: Option<u32>, list: &[u8]) {
        let table = self.table;
        self.message(kind, if kind == msg::NEWSETELEM { NLM_F_CREATE } else { 0 }, |message| {
            message.text(uapi::element::LIST_TABLE, &table.name);
            message.text(uapi::element::LIST_SET, set);
            if let Some(id) = id {
                message.u32(uapi::element::LIST_SET_ID, id);
            }
            if !list.is_empty() {
                message.nest(uapi::element::LIST_ELEMENTS, |elements| elements.bytes.extend_from_slice(list));
            }
        });
    }

    fn rule(&mut self, chain: &str, rule: &Rule, flags: u16, handle: Option<u64>) -> Result<(), InvalidObject> {
        let comment = comment(udata::COMMENT, rule.comment.as_deref())?;
        let table = self.table;
        let statements = explicit(&rule.statements, table.family);
        let mut anonymous_sets = Vec::new();
        for (key, elements) in statements.iter().filter_map(Statement::anonymous_set) {
            anonymous_sets.push(self.anonymous_set(&key.anonymous_set(elements), elements)?);
        }
        let mut expressions = AttributeWriter::default();
        let mut writer = ExpressionWriter {
            writer: &mut expressions,
            table_family: table.family,
            family: table.family,
            anonymous_sets: anonymous_sets.into_iter(),
        };
        statements.iter().try_for_each(|statement| writer.statement(statement))?;
        self.message(msg::NEWRULE, flags, |message| {
            message.text(uapi::rule::TABLE, &table.name);
            message.text(uapi::rule::CHAIN, chain);
            if let Some(handle) = handle {
                message.u64(uapi::rule::HANDLE, handle);
            }
            message.nest(uapi::rule::EXPRESSIONS, |list| list.bytes.extend_from_slice(&expressions.bytes));
            if let Some(comment) = comment {
                message.bytes(uapi::rule::USERDATA, &comment);
            }
        });
        Ok(())
    }

    fn rule_message(&mut self, kind: u16, chain: Option<&str>, more: impl FnOnce(&mut AttributeWriter)) {
        let table = self.table;
        self.message(kind, 0, |message| {
            message.text(uapi::rule::TABLE, &table.name);
            if let Some(chain) = chain {
                message.text(uapi::rule::CHAIN, chain);
            }
            more(message);
        });
    }

    fn message(&mut self, kind: u16, flags: u16, attributes: impl FnOnce(&mut AttributeWriter)) {
        self.batch.message(self.owner, kind, flags, self.table.family, attributes);
    }
}

fn name(name: &str) -> Result<(), InvalidObject> {
    let fits = (1..256).contains(&name.len()) && !name.contains('\0');
    if fits { Ok(()) } else { Err(InvalidObject::Name { name: name.to_owned() }) }
}

/// Bytes of a key or datum, each field padded.
fn concatenation_size(types: &[DataType]) -> Result<usize, InvalidObject> {
    match types.iter().map(|data_type| data_type.padded_size()).sum() {
        bytes @ 1..=REGISTERS_SIZE if types.len() > 1 => Ok(bytes),
        bytes @ 1..=REGISTERS_SIZE => Ok(types.first().map_or(bytes, |data_type| data_type.size())),
        bytes => Err(InvalidObject::Concatenation { bytes }),
    }
}

/// nft's number of a concatenated type: six bits for each field.
fn concatenation_id(types: &[DataType]) -> u32 {
    types.iter().fold(0, |id, data_type| id << 6 | data_type.id())
}
