//! The socket to the kernel's netfilter, which nf_tables and connection tracking share.

use std::io;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;
use rustix::net::sockopt::{
    set_socket_recv_buffer_size_force, set_socket_send_buffer_size, set_socket_send_buffer_size_force,
    socket_send_buffer_size,
};

use crate::attribute::{AttributeReader, AttributeWriter};
use crate::batch::{HEADERS, write_message};
use crate::error::Error;
use crate::uapi::NLM_F_DUMP_INTR;

/// What we read at once: more than the kernel puts into one datagram of a dump.
const RECEIVE_BUFFER: usize = 128 * 1024;
/// What the kernel may queue for us; more than the errors of a large transaction take.
const RECEIVE_QUEUE: usize = 8 * 1024 * 1024;
/// What the kernel keeps of a send buffer for itself, generously.
const SEND_OVERHEAD: usize = 4096;
/// How often a list is read anew because the ruleset changed meanwhile.
const LIST_ATTEMPTS: u32 = 100;

/// A netlink socket to netfilter, in the network namespace that the thread is in when it opens it.
#[derive(Debug)]
pub(crate) struct NetfilterSocket {
    pub(crate) socket: Socket,
    pub(crate) sequence: u32,
    buffer: Vec<u8>,
}

/// What a message is about.
#[derive(Clone, Copy)]
pub(crate) struct MessageKind {
    /// NFNL_SUBSYS_….
    pub(crate) subsystem: u16,
    /// The subsystem's number of the message.
    pub(crate) number: u16,
    /// The address family.
    pub(crate) family: u8,
}

/// A message of the kernel.
pub(crate) struct Answer<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) payload: &'a [u8],
}

impl NetfilterSocket {
    /// Opens a socket. Nothing is sent.
    pub(crate) fn open() -> Result<Self, Error> {
        let socket = |doing| move |source: io::Error| Error::Socket { doing, source };
        let mut netlink = Socket::new(NETLINK_NETFILTER).map_err(|source| match Errno::from_io_error(&source) {
            Some(Errno::PROTONOSUPPORT) => Error::Unsupported,
            _ => Error::Socket { doing: "opening a netlink socket", source },
        })?;
        netlink.bind_auto().map_err(socket("binding a netlink socket"))?;
        // The kernel does all its work within our send, and within our reads of a dump: there is never anything to wait for.
        netlink.set_non_blocking(true).map_err(socket("making a netlink socket non-blocking"))?;
        // An error needs to carry only the header of the message that failed, not all of it.
        netlink.set_cap_ack(true).map_err(socket("asking netlink for short errors"))?;
        // Refused in a user namespace; then the usual size has to do, and an overrun is noticed.
        let _ = set_socket_recv_buffer_size_force(&netlink, RECEIVE_QUEUE);
        Ok(Self { socket: netlink, sequence: 0, buffer: vec![0; RECEIVE_BUFFER] })
    }

    /// Sends one request and hands over the attributes of each answer.
    pub(crate) fn request(
        &mut self,
        kind: MessageKind,
        flags: u16,
        attributes: impl Fn(&mut AttributeWriter),
        mut each: impl FnMut(AttributeReader<'_>),
    ) -> Result<(), Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let mut bytes = Vec::new();
        let number = kind.subsystem << 8 | kind.number;
        write_message(&mut bytes, number, flags | NLM_F_REQUEST, sequence, (kind.family, 0), attributes);
        self.send(&bytes)?;
        let mut interrupted = false;
        let mut answered = false;
        self.receive(|answer| {
            if answer.sequence != sequence {
                return Ok(());
            }
            answered = true;
            interrupted |= answer.flags & NLM_F_DUMP_INTR != 0;
            match answer.kind {
                NLMSG_DONE => {}
                NLMSG_ERROR => match error_code(answer.payload) {
                    None => {}
                    Some(Errno::PERM) => return Err(Error::Permission),
                    Some(errno) => return Err(Error::List { errno }),
                },
                _ => each(AttributeReader(answer.payload.get(HEADERS - 16..).unwrap_or_default())),
            }
            Ok(())
        })?;
        match (answered, interrupted) {
            (false, _) => Err(Error::Unanswered),
            (true, true) => Err(Error::List { errno: Errno::INTR }),
            (true, false) => Ok(()),
        }
    }

    /// Reads a list: what `each` makes of every answer. Starts again when the ruleset changed meanwhile.
    pub(crate) fn list<T>(
        &mut self,
        kind: MessageKind,
        attributes: impl Fn(&mut AttributeWriter),
        each: impl Fn(AttributeReader<'_>, &mut Vec<T>),
    ) -> Result<Vec<T>, Error> {
        for _ in 0..LIST_ATTEMPTS {
            let mut items = Vec::new();
            match self.request(kind, NLM_F_DUMP, &attributes, |answer| each(answer, &mut items)) {
                Err(Error::List { errno: Errno::INTR }) => {}
                other => return other.map(|()| items),
            }
        }
        Err(Error::List { errno: Errno::INTR })
    }

    /// A batch is one datagram: makes the send buffer large enough for it.
    pub(crate) fn fit_send_buffer(&mut self, bytes: usize) -> Result<(), Error> {
        let wanted = bytes + SEND_OVERHEAD;
        let size = |socket: &Socket| {
            socket_send_buffer_size(socket)
                .map_err(|errno| Error::Socket { doing: "reading the size of the send buffer", source: errno.into() })
        };
        if size(&self.socket)? >= wanted {
            return Ok(());
        }
        if set_socket_send_buffer_size_force(&self.socket, wanted).is_err() {
            // In a user namespace: as far as net.core.wmem_max goes. What came of it is read back.
            let _ = set_socket_send_buffer_size(&self.socket, wanted);
        }
        match size(&self.socket)? {
            limit if limit < wanted => Err(Error::TooLarge { bytes, limit }),
            _ => Ok(()),
        }
    }

    pub(crate) fn send(&self, bytes: &[u8]) -> Result<(), Error> {
        let socket = |source| Error::Socket { doing: "sending to netfilter", source };
        self.socket.send_to(bytes, &SocketAddr::new(0, 0), 0).map(|_| ()).map_err(socket)
    }

    /// One datagram, if there is one.
    pub(crate) fn read_datagram(&mut self) -> io::Result<Option<&[u8]>> {
        match self.socket.recv(&mut &mut self.buffer[..], 0) {
            Ok(length) => Ok(Some(&self.buffer[..length.min(self.buffer.len())])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Hands over every message that is there. After an error the rest is still read, lest it be taken for a later answer.
    pub(crate) fn receive(&mut self, mut each: impl FnMut(Answer<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let mut result = Ok(());
        loop {
            let length = match self.socket.recv(&mut &mut self.buffer[..], 0) {
                Ok(length) => length,
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::AGAIN) => return result,
                    // Errors did not fit the queue: those that did tell enough, and without the last one we do not succeed.
                    Some(Errno::NOBUFS | Errno::INTR) => continue,
                    _ => return Err(Error::Socket { doing: "reading from netfilter", source: error }),
                },
            };
            let mut rest = &self.buffer[..length.min(self.buffer.len())];
            while let Ok(message) = NetlinkBuffer::new_checked(rest) {
                let length = message.length() as usize;
                if result.is_ok() {
                    result = each(Answer {
                        kind: message.message_type(),
                        flags: message.flags(),
                        sequence: message.sequence_number(),
                        payload: &rest[16..length],
                    });
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

/// The error that an error message tells; `None` for an acknowledgement.
pub(crate) fn error_code(payload: &[u8]) -> Option<Errno> {
    let code = payload.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    (code != 0).then(|| Errno::from_raw_os_error(code.wrapping_neg()))
}
