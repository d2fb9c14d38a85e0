//! News of the ruleset: who changed which tables.

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use netlink_packet_core::NetlinkBuffer;
use rustix::io::Errno;

use crate::attribute::AttributeReader;
use crate::batch::HEADERS;
use crate::error::Error;
use crate::netfilter_socket::NetfilterSocket;
use crate::table::{Family, Table};
use crate::uapi::{NFNL_SUBSYS_NFTABLES, NFNLGRP_NFTABLES, generation, msg};

/// Something happened to the ruleset of the network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notification {
    /// A transaction was committed.
    Changed {
        /// The number of the ruleset's generation from then on.
        generation: u32,
        /// The netlink port of who did it: compare with [`Connection::port`](crate::Connection::port).
        port: u32,
        /// The name of the program that did it, as far as the kernel tells.
        program: Option<String>,
        /// The tables that it is about, of the families inet, ip and ip6.
        tables: BTreeSet<Table>,
    },
    /// News were lost, because they came faster than they were read: anything may have changed.
    Lost,
}

/// A subscription to news of the ruleset, from its making on.
///
/// Reading never blocks; the descriptor is readable when there is something, for `poll` or an event loop.
#[derive(Debug)]
pub struct Monitor {
    netlink: NetfilterSocket,
    /// The tables of the transaction whose end has not come yet.
    tables: BTreeSet<Table>,
    waiting: VecDeque<Notification>,
}

impl Monitor {
    /// Subscribes, in the network namespace that the thread is in.
    ///
    /// # Errors
    /// [`Error::Permission`] without CAP_NET_ADMIN, [`Error::Socket`].
    pub fn open() -> Result<Self, Error> {
        let netlink = NetfilterSocket::open()?;
        netlink.socket.add_membership(NFNLGRP_NFTABLES).map_err(|source| match Errno::from_io_error(&source) {
            Some(Errno::PERM) => Error::Permission,
            _ => Error::Socket { doing: "subscribing to news of nf_tables", source },
        })?;
        Ok(Self { netlink, tables: BTreeSet::new(), waiting: VecDeque::new() })
    }

    /// The next piece of news, in order; `None` if there is none yet.
    ///
    /// # Errors
    /// [`Error::Socket`].
    pub fn read(&mut self) -> Result<Option<Notification>, Error> {
        while self.waiting.is_empty() {
            let datagram = match self.netlink.read_datagram() {
                Ok(Some(datagram)) => datagram,
                Ok(None) => return Ok(None),
                Err(source) if Errno::from_io_error(&source) == Some(Errno::NOBUFS) => {
                    self.tables.clear();
                    return Ok(Some(Notification::Lost));
                }
                Err(source) => return Err(Error::Socket { doing: "reading news of nf_tables", source }),
            };
            let mut rest = datagram;
            while let Ok(message) = NetlinkBuffer::new_checked(rest) {
                let length = message.length() as usize;
                let (kind, port) = (message.message_type(), message.port_number());
                let payload = &rest[16..length];
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
                if kind >> 8 != NFNL_SUBSYS_NFTABLES {
                    continue;
                }
                let attributes = AttributeReader(payload.get(HEADERS - 16..).unwrap_or_default());
                if kind & 0xff == msg::NEWGEN {
                    self.waiting.push_back(Notification::Changed {
                        generation: attributes.u32(generation::ID).unwrap_or(0),
                        port,
                        program: attributes.text(generation::PROC_NAME),
                        tables: std::mem::take(&mut self.tables),
                    });
                } else if let Some(family) = payload.first().and_then(|number| Family::from_number(*number)) {
                    // The table's name has the same number in messages of every kind.
                    self.tables.extend(attributes.text(1).map(|name| Table::new(family, name)));
                }
            }
        }
        Ok(self.waiting.pop_front())
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.netlink.socket.as_fd()
    }
}

impl AsRawFd for Monitor {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
