//! The connection to the kernel's nf_tables.

use netlink_packet_core::NLMSG_ERROR;
use rustix::io::Errno;

use crate::attribute::{AttributeReader, AttributeWriter};
use crate::batch::Batch;
use crate::error::{Error, Failure};
use crate::netfilter_socket::{MessageKind, NetfilterSocket, error_code};
use crate::table::Family;
use crate::transaction::Transaction;
use crate::uapi::{NFNL_SUBSYS_NFTABLES, msg};

/// A connection to the nf_tables of the network namespace that the thread is in when it opens it.
///
/// Calls block, though never for long: the kernel answers within the call. Needs CAP_NET_ADMIN in the user namespace that
/// owns the network namespace.
#[derive(Debug)]
pub struct Connection {
    netlink: NetfilterSocket,
}

impl Connection {
    /// Opens a connection and asks the kernel whether it has nf_tables and lets us use it.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the kernel lacks nf_tables, [`Error::Permission`] without CAP_NET_ADMIN, [`Error::Socket`].
    pub fn open() -> Result<Self, Error> {
        let mut connection = Self { netlink: NetfilterSocket::open()? };
        match connection.netlink.request(about(msg::GETGEN, Family::Inet), 0, |_| {}, |_| {}) {
            Ok(()) => Ok(connection),
            Err(Error::List { errno: Errno::INVAL | Errno::OPNOTSUPP, .. }) => Err(Error::Unsupported),
            Err(error) => Err(error),
        }
    }

    /// Applies all operations of a transaction, or none of them.
    ///
    /// # Errors
    /// [`Error::Invalid`] before anything is sent, [`Error::TooLarge`] if it does not fit the socket's buffer,
    /// [`Error::Rejected`] with each operation that the kernel refused.
    pub fn apply(&mut self, transaction: &Transaction) -> Result<(), Error> {
        if transaction.is_empty() {
            return Ok(());
        }
        let batch = Batch::new(transaction, self.netlink.sequence.wrapping_add(1)).map_err(|(index, source)| {
            Error::Invalid { operation: transaction.text(&transaction.operations[index]), source }
        })?;
        self.netlink.sequence = self.netlink.sequence.wrapping_add(batch.messages());
        self.netlink.fit_send_buffer(batch.bytes.len())?;
        self.netlink.send(&batch.bytes)?;

        let (mut done, mut failures) = (false, Vec::new());
        self.netlink.receive(|answer| {
            if answer.kind != NLMSG_ERROR {
                return Ok(());
            }
            let errno = error_code(answer.payload);
            match (batch.owner(answer.sequence), errno) {
                (_, None) => done |= batch.is_last(answer.sequence),
                (None, Some(Errno::PERM)) => return Err(Error::Permission),
                (None, Some(Errno::OPNOTSUPP)) => return Err(Error::Unsupported),
                (owner, Some(errno)) => {
                    let operation = owner.map(|index| transaction.text(&transaction.operations[index]));
                    failures.push(Failure { operation, errno });
                }
            }
            Ok(())
        })?;
        match (done, failures.is_empty()) {
            (_, false) => Err(Error::Rejected { failures }),
            (true, true) => Ok(()),
            (false, true) => Err(Error::Unanswered),
        }
    }

    /// The connection's netlink port, by which [`Notification`](crate::Notification)s tell our changes from those of others.
    ///
    /// # Errors
    /// [`Error::Socket`].
    pub fn port(&self) -> Result<u32, Error> {
        let mut address = netlink_sys::SocketAddr::new(0, 0);
        self.netlink
            .socket
            .get_address(&mut address)
            .map_err(|source| Error::Socket { doing: "reading a netlink socket's address", source })?;
        Ok(address.port_number())
    }

    /// Sends one request about no table and hands over the attributes of the answer.
    pub(crate) fn ask(&mut self, kind: u16, each: impl FnMut(AttributeReader<'_>)) -> Result<(), Error> {
        self.netlink.request(about(kind, Family::Inet), 0, |_| {}, each)
    }

    /// Reads a list: what `each` makes of every answer. Starts again when the ruleset changed meanwhile.
    pub(crate) fn list<T>(
        &mut self,
        kind: u16,
        family: Family,
        attributes: impl Fn(&mut AttributeWriter),
        each: impl Fn(AttributeReader<'_>, &mut Vec<T>),
    ) -> Result<Vec<T>, Error> {
        self.netlink.list(about(kind, family), attributes, each)
    }
}

fn about(number: u16, family: Family) -> MessageKind {
    MessageKind { subsystem: NFNL_SUBSYS_NFTABLES, number, family: family.number() }
}
