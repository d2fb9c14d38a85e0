//! Makes the kernel forget the connections of pods that are gone: the next owner of an address would inherit them as
//! established, past every policy (P16).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::mpsc::{self, Sender};
use std::thread;

use netpol_nft::conntrack::{Conntrack, Filter};
use prometheus_client::metrics::counter::Counter;

/// Where addresses go whose pod is gone. Walking all connections of a busy node takes milliseconds, for which no change of
/// policy waits.
#[derive(Debug)]
pub(crate) struct Connections(Sender<BTreeSet<IpAddr>>);

impl Connections {
    /// Starts the thread that does it, in the network namespace of the caller, and counts what is forgotten.
    ///
    /// # Errors
    /// The kernel refuses the socket.
    pub(crate) fn open(forgotten: Counter) -> Result<Self, netpol_nft::Error> {
        let mut conntrack = Conntrack::open()?;
        let (sender, receiver) = mpsc::channel::<BTreeSet<IpAddr>>();
        thread::spawn(move || {
            while let Ok(mut addresses) = receiver.recv() {
                receiver.try_iter().for_each(|more| addresses.extend(more));
                match forget(&mut conntrack, &addresses) {
                    Ok(0) => {}
                    Ok(deleted) => {
                        forgotten.inc_by(deleted as u64);
                        tracing::info!(?addresses, deleted, "connections of pods that are gone are forgotten");
                    }
                    Err(error) => tracing::error!(?addresses, %error, "connections of pods that are gone remain"),
                }
            }
        });
        Ok(Self(sender))
    }

    /// Their pods are gone.
    pub(crate) fn forget(&self, addresses: BTreeSet<IpAddr>) {
        if !addresses.is_empty() && self.0.send(addresses).is_err() {
            tracing::error!("nobody forgets connections any more");
        }
    }
}

/// Returns how many there were.
fn forget(conntrack: &mut Conntrack, addresses: &BTreeSet<IpAddr>) -> Result<usize, netpol_nft::Error> {
    // The kernel finds those of an IPv4 address by itself, in two walks, and copies no others; of IPv6 it copies all that there are. For many,
    // one walk that copies everything is less.
    const FEW: usize = 8;
    if addresses.len() == 1 || addresses.len() <= FEW && addresses.iter().all(IpAddr::is_ipv4) {
        return addresses.iter().map(|address| conntrack.delete_address(*address)).sum();
    }
    let mut deleted = 0;
    for entry in conntrack.list(&Filter::default())? {
        if addresses.iter().any(|address| entry.is_of(*address)) {
            deleted += usize::from(conntrack.delete(&entry)?);
        }
    }
    Ok(deleted)
}
