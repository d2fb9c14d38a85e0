//! Which pods claim an address, and which of them has it.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use super::super::pods;
use crate::world::{ObjectKey, Pod, World};

/// All addresses of pods that policies can see (P18).
#[derive(Debug, Default)]
pub(super) struct Addresses(HashMap<IpAddr, Claims>);

#[derive(Debug, Default)]
struct Claims {
    pods: Vec<ObjectKey>,
    /// The UID of the pod that had the address when it was last looked at.
    had: Option<String>,
}

impl Addresses {
    /// Takes in that a pod has changed. Returns the addresses that it had or has.
    pub(super) fn claim(&mut self, key: &ObjectKey, before: Option<&Pod>, after: Option<&Pod>) -> BTreeSet<IpAddr> {
        let addresses = |pod: Option<&Pod>| {
            let pod = pod.filter(|pod| pod.is_selectable());
            pod.map(|pod| pod.addresses.clone()).unwrap_or_default()
        };
        let (old, new) = (addresses(before), addresses(after));
        for address in &old {
            if let Some(claims) = self.0.get_mut(address) {
                claims.pods.retain(|other| other != key);
            }
        }
        for address in &new {
            self.0.entry(*address).or_default().pods.push(key.clone());
        }
        &old | &new
    }

    /// The pods that claim an address.
    pub(super) fn claimants(&self, address: IpAddr) -> impl Iterator<Item = &ObjectKey> {
        self.0.get(&address).into_iter().flat_map(|claims| &claims.pods)
    }

    /// The pod that has an address.
    pub(super) fn owner<'a>(&self, address: IpAddr, world: &'a World) -> Option<&'a Pod> {
        pods::owner(self.claimants(address).filter_map(|key| world.pods.get(key)))
    }

    /// Remembers who has an address. Returns whether somebody else had it before, who has it no more.
    pub(super) fn settle(&mut self, address: IpAddr, world: &World) -> bool {
        let has = self.owner(address, world).map(|pod| pod.uid.clone());
        let Some(claims) = self.0.get_mut(&address) else { return false };
        let departed = claims.had.is_some() && claims.had != has;
        claims.had = has;
        if claims.pods.is_empty() {
            self.0.remove(&address);
        }
        departed
    }

    /// All addresses with the pods that have them.
    pub(super) fn owners<'a>(&self, world: &'a World) -> impl Iterator<Item = (IpAddr, &'a Pod)> {
        self.0.keys().filter_map(|address| Some((*address, self.owner(*address, world)?)))
    }
}
