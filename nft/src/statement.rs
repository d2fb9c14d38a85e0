//! What a rule consists of.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::action::{NatFlag, NatKind, Reject};
use crate::element::Element;
use crate::field::{CtDirection, CtState, CtStatus, Field};
use crate::lookup::{LookupKey, SetRef};
use crate::protocol::{NfProto, Protocol};
use crate::table::Family;
use crate::value::Value;
use crate::verdict::Verdict;

/// One match or action of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Statement {
    CtState {
        negated: bool,
        states: BTreeSet<CtState>,
    },
    CtStatus {
        negated: bool,
        statuses: BTreeSet<CtStatus>,
    },
    CtDirection(CtDirection),
    Compare {
        field: Field,
        negated: bool,
        value: Value,
    },
    Prefix {
        field: Field,
        negated: bool,
        net: IpNet,
    },
    Range {
        field: Field,
        from: Value,
        to: Value,
    },
    Lookup {
        key: LookupKey,
        negated: bool,
        set: SetRef,
    },
    FibSaddrIifMissing,
    Counter,
    SetMark(u32),
    SetCtMark(u32),
    Notrack,
    Vmap {
        key: LookupKey,
        map: SetRef,
    },
    Update {
        fields: Vec<Field>,
        set: String,
        /// Milliseconds.
        timeout: u64,
    },
    Masquerade {
        flags: BTreeSet<NatFlag>,
    },
    Redirect {
        port: u16,
    },
    Nat {
        kind: NatKind,
        address: IpAddr,
        port: Option<u16>,
    },
    NatMap {
        kind: NatKind,
        family: NfProto,
        key: LookupKey,
        map: SetRef,
    },
    Reject(Reject),
    Verdict(Verdict),
    /// An expression of this name that we do not write, or not so.
    Foreign(String),
}

impl Statement {
    /// The fields of the packet that the statement reads.
    pub(crate) fn fields(&self) -> &[Field] {
        match self {
            Self::Compare { field, .. } | Self::Prefix { field, .. } | Self::Range { field, .. } => {
                std::slice::from_ref(field)
            }
            Self::Lookup { key, .. } | Self::Vmap { key, .. } | Self::NatMap { key, .. } => key.fields(),
            Self::Update { fields, .. } => fields,
            _ => &[],
        }
    }

    /// What it looks up in a set of its own: the key, and the set's elements.
    pub(crate) fn anonymous_set(&self) -> Option<(&LookupKey, &[Element])> {
        match self {
            Self::Lookup { key, set: SetRef::Anonymous(elements), .. }
            | Self::Vmap { key, map: SetRef::Anonymous(elements) }
            | Self::NatMap { key, map: SetRef::Anonymous(elements), .. } => Some((key, elements)),
            _ => None,
        }
    }

    /// The transport protocol that the packet has after this statement, if it is a plain match on one.
    pub(crate) fn known_protocol(&self) -> Option<Protocol> {
        match self {
            Self::Compare { field: Field::L4proto, negated: false, value: Value::Protocol(protocol) } => {
                Some(*protocol)
            }
            _ => None,
        }
    }

    /// The address family that the packet has after this statement, if it is a plain match on one.
    pub(crate) fn known_family(&self) -> Option<NfProto> {
        match self {
            Self::Compare { field: Field::Nfproto, negated: false, value: Value::NfProto(family) } => Some(*family),
            _ => None,
        }
    }

    /// Whether it only matches, so that nft looks past it for what an earlier match was needed for.
    pub(crate) fn is_match(&self) -> bool {
        matches!(
            self,
            Self::CtState { .. }
                | Self::CtStatus { .. }
                | Self::CtDirection(_)
                | Self::Compare { .. }
                | Self::Prefix { .. }
                | Self::Range { .. }
                | Self::Lookup { .. }
                | Self::FibSaddrIifMissing
        )
    }

    /// The one of several ways to say the same.
    fn canonical(&self) -> Self {
        let sorted = |set: &SetRef| match set {
            SetRef::Named(name) => SetRef::Named(name.clone()),
            SetRef::Anonymous(elements) => {
                let mut elements = elements.clone();
                elements.sort();
                SetRef::Anonymous(elements)
            }
        };
        match self.clone() {
            Self::Prefix { field, negated, net } => Self::Prefix { field, negated, net: net.trunc() },
            Self::Lookup { key, negated, set } => Self::Lookup { key, negated, set: sorted(&set) },
            Self::Vmap { key, map } => Self::Vmap { key, map: sorted(&map) },
            Self::NatMap { kind, family, key, map } => Self::NatMap { kind, family, key, map: sorted(&map) },
            other => other,
        }
    }

    fn family_is(family: NfProto) -> Self {
        Self::Compare { field: Field::Nfproto, negated: false, value: family.into() }
    }

    fn protocol_is(protocol: Protocol) -> Self {
        Self::Compare { field: Field::L4proto, negated: false, value: protocol.into() }
    }
}

impl Field {
    /// The address family whose header holds the field.
    pub(crate) fn family(self) -> Option<NfProto> {
        match self {
            Self::IpSaddr | Self::IpDaddr | Self::IcmpType => Some(NfProto::Ipv4),
            Self::Ip6Saddr | Self::Ip6Daddr | Self::Icmpv6Type => Some(NfProto::Ipv6),
            _ => None,
        }
    }

    /// The transport protocol whose header alone holds the field.
    pub(crate) fn protocol(self) -> Option<Protocol> {
        match self {
            Self::IcmpType => Some(Protocol::ICMP),
            Self::Icmpv6Type => Some(Protocol::ICMPV6),
            _ => None,
        }
    }
}

/// The statements with each match spelt out that must hold before a header's field means what its name says.
pub(crate) fn explicit(statements: &[Statement], family: Family) -> Vec<Statement> {
    let mut known_family = match family {
        Family::Inet => None,
        Family::Ip => Some(NfProto::Ipv4),
        Family::Ip6 => Some(NfProto::Ipv6),
    };
    let mut known_protocol = None;
    let mut all = Vec::with_capacity(statements.len());
    for statement in statements {
        for field in statement.fields() {
            if field.protocol().is_some() && field.protocol() == known_protocol {
                continue; // the protocol alone says enough
            }
            if let Some(family) = field.family().filter(|family| known_family != Some(*family)) {
                all.push(Statement::family_is(family));
                known_family = Some(family);
            }
            if let Some(protocol) = field.protocol() {
                all.push(Statement::protocol_is(protocol));
                known_protocol = Some(protocol);
            }
        }
        known_family = statement.known_family().or(known_family);
        known_protocol = statement.known_protocol().or(known_protocol);
        all.push(statement.canonical());
    }
    all
}
