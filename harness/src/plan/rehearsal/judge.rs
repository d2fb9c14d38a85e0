//! What the oracle says of a cell, whatever it goes to.
//!
//! A probe to a Service becomes a connection to one of its backends, and where it enters by a node port the receiver may see the node's
//! address instead of the client's (N33, N34). A verdict is scored only where every such possibility gives the same one.

use std::collections::BTreeSet;

use netpol_oracle as oracle;

use super::super::route::{Route, is_local, route};
use super::super::specification::{end, traffic};
use super::super::{Cell, Endpoint, Expected, Level, PodRef, Transport};
use super::Rehearsal;

/// What each possibility comes to.
#[derive(Default)]
struct Possibilities {
    allowed: Option<String>,
    denied: Option<String>,
    rules: BTreeSet<String>,
    /// A client that may reach itself by its own Service (N51).
    hairpin: bool,
}

impl Possibilities {
    fn add(&mut self, allowed: bool, judgement: &oracle::Judgement) {
        self.rules.extend(judgement.rules.iter().map(ToString::to_string));
        let side = if allowed { &mut self.allowed } else { &mut self.denied };
        side.get_or_insert_with(|| judgement.reason.to_string());
    }
}

impl Rehearsal {
    pub(super) fn expected(&self, cell: &Cell, named: bool) -> Option<Expected> {
        let route = route(cell, &self.topology, &self.bindings, &self.cluster)?;
        let mut found = Possibilities::default();
        for (receiver, transport) in &route.receivers {
            self.consider(cell, &route, receiver, *transport, &mut found)?;
        }
        let itself = cell.to.pod() == Some(&cell.from);
        let (allowed, open, reason) = match (found.allowed, found.denied) {
            (Some(allows), Some(denies)) => (true, true, format!("not specified: {allows}; or {denies}")),
            (allows, denies) => (allows.is_some(), false, allows.or(denies)?),
        };
        Some(Expected {
            allowed,
            level: self.case.probes.get(&cell.traffic).copied().unwrap_or(Level::Core),
            scored: (named || !itself) && !open && !found.hairpin && !self.to_own_node(cell),
            reason,
            rules: found.rules,
            route,
        })
    }

    /// N54 leaves open whether a pod reaches its own node: never scored.
    fn to_own_node(&self, cell: &Cell) -> bool {
        let Some(to) = cell.to.pod() else { return false };
        let in_node = |pod: &PodRef| {
            let spec = self.topology.pods.get(pod).and_then(|pod| pod.spec.as_ref());
            spec.and_then(|spec| spec.host_network).unwrap_or(false)
        };
        let node = |pod: &PodRef| self.bindings.pods.get(pod).map(|bound| &bound.node);
        in_node(to) && !in_node(&cell.from) && node(to) == node(&cell.from)
    }

    /// Judges the connection to one receiver, from every address that it may see.
    fn consider(
        &self,
        cell: &Cell,
        route: &Route,
        receiver: &PodRef,
        transport: Transport,
        found: &mut Possibilities,
    ) -> Option<()> {
        let family = oracle::Family::of(route.to);
        let ends = |pod| end(pod, &self.topology, &self.bindings, family);
        let (from, to) = (ends(&cell.from)?, ends(receiver)?);
        let judge = |from: &oracle::End, to: &oracle::End, transport| {
            let flow = oracle::Flow { from: from.clone(), to: to.clone(), traffic: traffic(transport), family };
            self.specification.judge(&flow).ok()
        };
        let direct = judge(&from, &to, transport)?;
        if cell.to.service().is_some() && from == to {
            found.rules.insert("N51".to_owned());
            found.hairpin = true;
        }
        let Endpoint::NodePort { service, node_of } = &cell.to else {
            found.add(direct.allowed, &direct);
            return Some(());
        };
        let entry = oracle::End::Node(self.bindings.pods.get(node_of)?.node.clone());
        let mut leaving = vec![direct.clone()];
        leaving.extend(judge(&from, &entry, route.transport));
        let mut arriving = vec![direct];
        // On its way to a node's address a pod's packet may take its own node's; a Service's policy does not bind what a pod sends.
        if let oracle::End::Pod(_) = &from {
            let own_node = oracle::End::Node(self.bindings.pods.get(&cell.from)?.node.clone());
            arriving.extend(judge(&own_node, &to, transport));
        }
        if !is_local(self.topology.services.get(service)?) {
            arriving.extend(judge(&entry, &to, transport));
        }
        for out in &leaving {
            for into in &arriving {
                let allowed = out.reason.egress.allows() && into.reason.ingress.allows();
                found.add(allowed, if out.reason.egress.allows() { into } else { out });
            }
        }
        found.rules.extend(["N33".to_owned(), "N34".to_owned()]);
        Some(())
    }
}
