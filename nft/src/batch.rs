//! A transaction as one batch of netlink messages.

use netlink_packet_core::{
    Emitable, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
};

use crate::attribute::AttributeWriter;
use crate::chain::{Chain, Policy};
use crate::element_wire::write_element;
use crate::error::InvalidObject;
use crate::expression::ExpressionWriter;
use crate::rule::Rule;
use crate::set::{MapsTo, Set};
use crate::table::Table;
use crate::transaction::{Operation, Transaction};
use crate::uapi::{self, NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFNL_SUBSYS_NFTABLES, data, msg, udata};
use crate::value::DataType;

/// Length of a netlink header with the netfilter header that follows it.
pub(crate) const HEADERS: usize = 20;
/// Bytes of elements after which the next message begins. The list's length must fit 16 bits, and no element is longer than
/// the rest.
const CHUNK: usize = 60_000;
/// The longest comment, as nft has it.
const COMMENT_MAX: usize = 128;
/// The longest key or value, in the kernel's registers.
const REGISTERS_SIZE: usize = 64;

/// Messages, and the operation that each of them belongs to.
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    first_sequence: u32,
    /// For each message: the operation's index; `None` for the batch's own begin and end.
    owners: Vec<Option<usize>>,
}

impl Batch {
    /// Encodes a transaction. The error tells the index of the operation that cannot be said.
    pub(crate) fn new(transaction: &Transaction, first_sequence: u32) -> Result<Self, (usize, InvalidObject)> {
        let table = &transaction.table;
        let mut batch = Self { bytes: Vec::new(), first_sequence, owners: Vec::new() };
        batch.delimiter(NFNL_MSG_BATCH_BEGIN);
        let mut last = 0;
        for (index, operation) in transaction.operations.iter().enumerate() {
            let mut sink = OperationWriter { batch: &mut batch, table, owner: index, last: &mut last };
            sink.operation(operation).map_err(|invalid| (index, invalid))?;
        }
        if last > 0 {
            // One acknowledgement, for the last message, tells that all is done; one for each could overrun the buffer.
            let flags = u16::from_ne_bytes([batch.bytes[last + 6], batch.bytes[last + 7]]) | NLM_F_ACK;
            batch.bytes[last + 6..last + 8].copy_from_slice(&flags.to_ne_bytes());
        }
        batch.delimiter(NFNL_MSG_BATCH_END);
        Ok(batch)
    }

    /// How many messages there are.
    pub(crate) fn messages(&self) -> u32 {
        self.owners.len() as u32
    }

    /// Whether the acknowledgement is the one that tells that all is done.
    pub(crate) fn is_last(&self, sequence: u32) -> bool {
        sequence.wrapping_sub(self.first_sequence) + 2 == self.messages()
    }

    /// The operation that a message belongs to; `None` for the batch as a whole.
    pub(crate) fn owner(&self, sequence: u32) -> Option<usize> {
        self.owners.get(sequence.wrapping_sub(self.first_sequence) as usize).copied().flatten()
    }

    fn delimiter(&mut self, kind: u16) {
        let sequence = self.first_sequence.wrapping_add(self.messages());
        self.owners.push(None);
        write_message(&mut self.bytes, kind, NLM_F_REQUEST, sequence, (0, NFNL_SUBSYS_NFTABLES), |_| {});
    }
}

/// Writes one message: headers and attributes. `address` is the family and the resource number of the netfilter header.
pub(crate) fn write_message(
    bytes: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    (family, resource): (u8, u16),
    attributes: impl FnOnce(&mut AttributeWriter),
) {
    let start = bytes.len();
    let mut writer = AttributeWriter { bytes: std::mem::take(bytes) };
    writer.bytes.resize(start + HEADERS, 0);
    attributes(&mut writer);
    let mut header = NetlinkHeader::default();
    header.length = (writer.bytes.len() - start) as u32;
    header.message_type = kind;
    header.flags = flags;
    header.sequence_number = sequence;
    header.emit(&mut writer.bytes[start..]);
    writer.bytes[start + 16] = family;
    writer.bytes[start + 18..start + HEADERS].copy_from_slice(&resource.to_be_bytes());
    *bytes = writer.bytes;
}

/// Writes the messages of one operation.
struct OperationWriter<'a> {
    batch: &'a mut Batch,
    table: &'a Table,
    owner: usize,
    /// Where the last message begins.
    last: &'a mut usize,
}

impl OperationWriter<'_> {
    fn operation(&mut self, operation: &Operation) -> Result<(), InvalidObject> {
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
            Operation::FlushSet(set) => self.elements_message(msg::DELSETELEM, set, &[]),
            Operation::AddElements(set, elements) => {
                self.elements(msg::NEWSETELEM, set, elements.iter().map(|element| write_element(set, element, true)))?;
            }
            Operation::DeleteElements(set, elements) => {
                self.elements(msg::DELSETELEM, set, elements.iter().map(|element| write_element(set, element, false)))?;
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
            | flag(ranges_of_fields, uapi::set::F_CONCAT);
        // Unique in the batch; the kernel wants one though we refer to sets by name.
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
        Ok(())
    }

    fn elements(
        &mut self,
        kind: u16,
        set: &Set,
        elements: impl Iterator<Item = Result<Vec<u8>, InvalidObject>>,
    ) -> Result<(), InvalidObject> {
        let mut list = Vec::new();
        for element in elements {
            list.extend(element?);
            if list.len() > CHUNK {
                self.elements_message(kind, &set.name, &list);
                list.clear();
            }
        }
        if !list.is_empty() {
            self.elements_message(kind, &set.name, &list);
        }
        Ok(())
    }

    /// A message about these elements; with none: about all elements of the set.
    fn elements_message(&mut self, kind: u16, set: &str, list: &[u8]) {
        let table = self.table;
        self.message(kind, if kind == msg::NEWSETELEM { NLM_F_CREATE } else { 0 }, |message| {
            message.text(uapi::element::LIST_TABLE, &table.name);
            message.text(uapi::element::LIST_SET, set);
            if !list.is_empty() {
                message.nest(uapi::element::LIST_ELEMENTS, |elements| elements.bytes.extend_from_slice(list));
            }
        });
    }

    fn rule(&mut self, chain: &str, rule: &Rule, flags: u16, handle: Option<u64>) -> Result<(), InvalidObject> {
        let comment = comment(udata::COMMENT, rule.comment.as_deref())?;
        let mut expressions = AttributeWriter::default();
        let mut writer = ExpressionWriter::new(&mut expressions, self.table.family);
        rule.statements.iter().try_for_each(|statement| writer.statement(statement))?;
        let table = self.table;
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
        let sequence = self.batch.first_sequence.wrapping_add(self.batch.messages());
        self.batch.owners.push(Some(self.owner));
        *self.last = self.batch.bytes.len();
        let address = (self.table.family.number(), 0);
        let kind = NFNL_SUBSYS_NFTABLES << 8 | kind;
        write_message(&mut self.batch.bytes, kind, flags | NLM_F_REQUEST, sequence, address, attributes);
    }
}

fn name(name: &str) -> Result<(), InvalidObject> {
    let fits = (1..256).contains(&name.len()) && !name.contains('\0');
    if fits { Ok(()) } else { Err(InvalidObject::Name { name: name.to_owned() }) }
}

/// A comment as nft stores it.
pub(crate) fn comment(kind: u8, comment: Option<&str>) -> Result<Option<Vec<u8>>, InvalidObject> {
    let Some(comment) = comment else { return Ok(None) };
    if comment.len() > COMMENT_MAX || comment.contains(['\0', '"']) {
        return Err(InvalidObject::Comment { comment: comment.to_owned() });
    }
    let mut bytes = vec![kind, comment.len() as u8 + 1];
    bytes.extend_from_slice(comment.as_bytes());
    bytes.push(0);
    Ok(Some(bytes))
}

/// The note for nft that numbers are in the host's byte order.
fn host_order(kind: u8) -> impl Iterator<Item = u8> {
    [kind, 4].into_iter().chain(udata::HOST_ORDER.to_ne_bytes())
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
