//! The kernel's table of connections: listing them, and making it forget some.
//!
//! Whoever takes an address from a pod has to make the kernel forget the address's connections: the next owner would
//! otherwise inherit "established" (P16).

mod entry;

use std::collections::BTreeMap;
use std::net::IpAddr;

use netlink_packet_core::NLM_F_ACK;

pub use entry::{Entry, Tuple, TupleProtocol};

use crate::Errno;
use crate::attribute::AttributeWriter;
use crate::error::Error;
use crate::netfilter_socket::{MessageKind, NetfilterSocket};
use crate::protocol::Protocol;
use crate::uapi::{NFNL_SUBSYS_CTNETLINK, conntrack as uapi};

/// A connection to the kernel's table of connections, of the network namespace that the thread is in when it opens it.
///
/// Calls block as long as the kernel takes to walk through its table.
/// Needs CAP_NET_ADMIN in the user namespace that owns the network namespace.
#[derive(Debug)]
pub struct Conntrack {
    netlink: NetfilterSocket,
}

/// Which connections to list; all that is set must hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filter {
    /// One of the four addresses, before or after translation.
    pub address: Option<IpAddr>,
    /// The transport protocol.
    pub protocol: Option<Protocol>,
    /// The zone; 0 unless a rule says otherwise.
    pub zone: Option<u16>,
    /// The mark of the connection.
    pub mark: Option<u32>,
}

impl Filter {
    /// The connections of an address.
    pub fn address(address: IpAddr) -> Self {
        Self { address: Some(address), ..Self::default() }
    }

    fn matches(&self, entry: &Entry) -> bool {
        let Self { address, protocol, zone, mark } = self;
        address.is_none_or(|address| entry.has_address(address))
            && protocol.is_none_or(|protocol| entry.original.protocol.number() == protocol)
            && zone.is_none_or(|zone| entry.zone == zone)
            && mark.is_none_or(|mark| entry.mark == mark)
    }
}

/// Where an address stands in a connection: which tuple's attribute, which attribute of the filter, which end.
type Place = (u16, u16, u32);

/// Where the addresses of those stand who send its packets: translation changes only the destinations of what they send.
const SENDERS: [Place; 2] = [
    (uapi::TUPLE_ORIG, uapi::FILTER_ORIG_FLAGS, uapi::FILTER_IP_SRC),
    (uapi::TUPLE_REPLY, uapi::FILTER_REPLY_FLAGS, uapi::FILTER_IP_SRC),
];

/// All four places.
const PLACES: [Place; 4] = [
    SENDERS[0],
    SENDERS[1],
    (uapi::TUPLE_ORIG, uapi::FILTER_ORIG_FLAGS, uapi::FILTER_IP_DST),
    (uapi::TUPLE_REPLY, uapi::FILTER_REPLY_FLAGS, uapi::FILTER_IP_DST),
];

impl Conntrack {
    /// Opens a connection. Nothing is asked yet.
    ///
    /// # Errors
    /// [`Error::Socket`].
    pub fn open() -> Result<Self, Error> {
        Ok(Self { netlink: NetfilterSocket::open()? })
    }

    /// The connections that the filter lets through, in order. The kernel compares marks and IPv4 addresses itself if it can
    /// (5.8 and later), so that only what is asked for is copied.
    ///
    /// # Errors
    /// [`Error::Permission`] without CAP_NET_ADMIN, [`Error::Conntrack`].
    pub fn list(&mut self, filter: &Filter) -> Result<Vec<Entry>, Error> {
        self.walk(filter, &PLACES)
    }

    /// One walk for each place that the filter's address may have. None is free: a machine of more than 4 GiB has 262,144 buckets, which
    /// all network namespaces share, and every walk looks into each.
    fn walk(&mut self, filter: &Filter, places: &[Place]) -> Result<Vec<Entry>, Error> {
        let mut found = BTreeMap::new();
        let places: Vec<Option<Place>> = match filter.address {
            Some(IpAddr::V4(_)) => places.iter().copied().map(Some).collect(),
            // Kernels up to 6.18 at least compare IPv6 addresses the wrong way round: equal ones are left out.
            Some(IpAddr::V6(_)) | None => vec![None],
        };
        for place in places {
            let about = message(uapi::GET, filter.address);
            let of_filter = |request: &mut AttributeWriter| write_filter(request, filter, place);
            let entries = self
                .netlink
                .list(about, of_filter, |answer, entries: &mut Vec<Entry>| entries.extend(Entry::read(answer)))
                .map_err(|error| conntrack("listing connections", error))?;
            // Older kernels know less of filters, and list more.
            let wanted = entries.into_iter().filter(|entry| filter.matches(entry));
            found.extend(wanted.map(|entry| ((entry.original, entry.zone, entry.id), entry)));
        }
        Ok(found.into_values().collect())
    }

    /// Makes the kernel forget one connection; returns whether it was still there. Its next packet opens a new one.
    ///
    /// # Errors
    /// [`Error::Permission`] without CAP_NET_ADMIN, [`Error::Conntrack`].
    pub fn delete(&mut self, entry: &Entry) -> Result<bool, Error> {
        let about = message(uapi::DELETE, Some(entry.original.source));
        let of_entry = |request: &mut AttributeWriter| {
            request.nest(uapi::TUPLE_ORIG, |tuple| entry.original.write(tuple));
            request.u16(uapi::ZONE, entry.zone);
            // Another connection between the same ends has another one.
            request.u32(uapi::ID, entry.id);
        };
        match self.netlink.request(about, NLM_F_ACK, of_entry, |_| {}) {
            Ok(()) => Ok(true),
            Err(Error::List { errno: Errno::NOENT }) => Ok(false),
            Err(error) => Err(conntrack("deleting a connection", error)),
        }
    }

    /// Makes the kernel forget all connections that whoever has an address takes part in, whichever side opened them and however the
    /// other side sees them; returns how many there were. The address must be closed already, or connections may begin meanwhile.
    ///
    /// # Errors
    /// [`Error::Permission`] without CAP_NET_ADMIN, [`Error::Conntrack`].
    pub fn delete_address(&mut self, address: IpAddr) -> Result<usize, Error> {
        let mut deleted = 0;
        for entry in self.walk(&Filter::address(address), &SENDERS)? {
            if entry.is_of(address) {
                deleted += usize::from(self.delete(&entry)?);
            }
        }
        Ok(deleted)
    }
}

fn message(number: u16, address: Option<IpAddr>) -> MessageKind {
    let family = match address {
        None => 0,
        Some(IpAddr::V4(_)) => 2,
        Some(IpAddr::V6(_)) => 10,
    };
    MessageKind { subsystem: NFNL_SUBSYS_CTNETLINK, number, family }
}

fn write_filter(request: &mut AttributeWriter, filter: &Filter, place: Option<Place>) {
    if let (Some(address), Some((tuple, flags, end))) = (filter.address, place) {
        request.nest(tuple, |tuple| {
            tuple.nest(uapi::TUPLE_IP, |ip| entry::write_address(ip, address, end == uapi::FILTER_IP_SRC));
        });
        // Unlike everything else these flags are in the host's byte order.
        request.nest(uapi::FILTER, |filter| filter.bytes(flags, &end.to_ne_bytes()));
    }
    if let Some(mark) = filter.mark {
        request.u32(uapi::MARK, mark);
        request.u32(uapi::MARK_MASK, u32::MAX);
    }
    if let Some(zone) = filter.zone {
        request.u16(uapi::ZONE, zone);
    }
}

fn conntrack(doing: &'static str, error: Error) -> Error {
    match error {
        Error::List { errno } => Error::Conntrack { doing, errno },
        other => other,
    }
}
