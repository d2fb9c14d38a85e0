//! A transaction as one batch of netlink messages.

use netlink_packet_core::{Emitable, NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader};

use crate::attribute::AttributeWriter;
use crate::error::InvalidObject;
use crate::operation_wire::OperationWriter;
use crate::table::Family;
use crate::transaction::Transaction;
use crate::uapi::{NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFNL_SUBSYS_NFTABLES};

/// Length of a netlink header with the netfilter header that follows it.
pub(crate) const HEADERS: usize = 20;

/// Messages, and the operation that each of them belongs to.
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    first_sequence: u32,
    /// For each message: the operation's index; `None` for the batch's own begin and end.
    owners: Vec<Option<usize>>,
    /// Where the last message of an operation begins.
    last: usize,
}

impl Batch {
    /// Encodes a transaction. The error tells the index of the operation that cannot be said.
    pub(crate) fn new(transaction: &Transaction, first_sequence: u32) -> Result<Self, (usize, InvalidObject)> {
        let table = &transaction.table;
        let mut batch = Self { bytes: Vec::new(), first_sequence, owners: Vec::new(), last: 0 };
        batch.delimiter(NFNL_MSG_BATCH_BEGIN);
        for (owner, operation) in transaction.operations.iter().enumerate() {
            let mut writer = OperationWriter { batch: &mut batch, table, owner };
            writer.write(operation).map_err(|invalid| (owner, invalid))?;
        }
        // One acknowledgement, for the last message, tells that all is done; one for each could overrun the socket's queue.
        // Errors come without being asked for.
        let (low, high) = (batch.last + 6, batch.last + 7);
        let flags = u16::from_ne_bytes([batch.bytes[low], batch.bytes[high]]) | NLM_F_ACK;
        batch.bytes[low..=high].copy_from_slice(&flags.to_ne_bytes());
        batch.delimiter(NFNL_MSG_BATCH_END);
        Ok(batch)
    }

    /// Writes a message of an operation.
    pub(crate) fn message(
        &mut self,
        owner: usize,
        kind: u16,
        flags: u16,
        family: Family,
        attributes: impl FnOnce(&mut AttributeWriter),
    ) {
        let sequence = self.first_sequence.wrapping_add(self.messages());
        self.owners.push(Some(owner));
        self.last = self.bytes.len();
        let kind = NFNL_SUBSYS_NFTABLES << 8 | kind;
        write_message(&mut self.bytes, kind, flags | NLM_F_REQUEST, sequence, (family.number(), 0), attributes);
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
