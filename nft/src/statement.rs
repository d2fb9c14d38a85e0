//! What a rule consists of, and its text as nft prints it.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::field::{CtDirection, CtState, Field};
use crate::protocol::{NfProto, Protocol};
use crate::set::write_concatenation;
use crate::table::Family;
use crate::value::Value;
use crate::verdict::Verdict;

/// One match or action of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Statement {
    CtState { negated: bool, states: BTreeSet<CtState> },
    CtDirection(CtDirection),
    Compare { field: Field, negated: bool, value: Value },
    Prefix { field: Field, negated: bool, net: IpNet },
    Range { field: Field, from: Value, to: Value },
    Lookup { fields: Vec<Field>, negated: bool, set: String },
    FibSaddrIifMissing,
    Counter,
    SetMark(u32),
    Vmap { fields: Vec<Field>, map: String },
    Masquerade,
    Dnat { address: IpAddr, port: Option<u16> },
    DnatMap { family: NfProto, fields: Vec<Field>, map: String },
    Verdict(Verdict),
}

impl Statement {
    /// The fields of the packet that the statement reads.
    pub(crate) fn fields(&self) -> &[Field] {
        match self {
            Self::Compare { field, .. } | Self::Prefix { field, .. } | Self::Range { field, .. } => {
                std::slice::from_ref(field)
            }
            Self::Lookup { fields, .. } | Self::Vmap { fields, .. } | Self::DnatMap { fields, .. } => fields,
            _ => &[],
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
    fn is_match(&self) -> bool {
        matches!(
            self,
            Self::CtState { .. }
                | Self::CtDirection(_)
                | Self::Compare { .. }
                | Self::Prefix { .. }
                | Self::Range { .. }
                | Self::Lookup { .. }
                | Self::FibSaddrIifMissing
        )
    }

    /// Whether nft leaves this match out because a later one implies it: `tcp dport 80` for `meta l4proto tcp th dport 80`.
    fn is_implied_by(&self, later: &[Self]) -> bool {
        let matches = later.iter().take_while(|statement| statement.is_match()).count();
        // Also the next action may read fields: `vmap`, `dnat to … map`.
        let mut fields = later.iter().take(matches + 1).flat_map(Self::fields).copied();
        if let Some(protocol) = self.known_protocol() {
            fields.any(|field| match field {
                Field::Sport | Field::Dport => has_port_names(protocol),
                Field::Icmpv6Type => protocol == Protocol::ICMPV6,
                _ => false,
            })
        } else if let Some(family) = self.known_family() {
            fields.any(|field| field.family() == Some(family))
        } else {
            false
        }
    }

    fn write(&self, f: &mut String, protocol: Option<Protocol>, family: Family) -> std::fmt::Result {
        let name = |field: Field| match (field, protocol) {
            (Field::Sport, Some(protocol)) if has_port_names(protocol) => format!("{protocol} sport"),
            (Field::Dport, Some(protocol)) if has_port_names(protocol) => format!("{protocol} dport"),
            _ => field.name().to_owned(),
        };
        let names = |fields: &[Field]| {
            let names: Vec<String> = fields.iter().map(|field| name(*field)).collect();
            let mut joined = String::new();
            write_concatenation(&mut joined, &names).map(|()| joined)
        };
        let not = |negated: bool| if negated { "!= " } else { "" };
        match self {
            Self::CtDirection(direction) => write!(f, "ct direction {direction}"),
            Self::CtState { negated, states } => {
                let states: Vec<String> = states.iter().map(CtState::to_string).collect();
                write!(f, "ct state {}{}", if *negated { "! " } else { "" }, states.join(","))
            }
            Self::Compare { field, negated, value } => write!(f, "{} {}{value}", name(*field), not(*negated)),
            Self::Prefix { field, negated, net } => write!(f, "{} {}{}", name(*field), not(*negated), net.trunc()),
            Self::Range { field, from: Value::Icmpv6Type(from), to: Value::Icmpv6Type(to) } => {
                write!(f, "{} {}-{}", name(*field), from.0, to.0)
            }
            Self::Range { field, from, to } => write!(f, "{} {from}-{to}", name(*field)),
            Self::Lookup { fields, negated, set } => write!(f, "{} {}@{set}", names(fields)?, not(*negated)),
            Self::FibSaddrIifMissing => f.write_str("fib saddr . iif oif missing"),
            Self::Counter => f.write_str("counter"),
            Self::SetMark(mark) => write!(f, "meta mark set 0x{mark:08x}"),
            Self::Vmap { fields, map } => write!(f, "{} vmap @{map}", names(fields)?),
            Self::Masquerade => f.write_str("masquerade"),
            Self::Dnat { address, port } => {
                f.write_str("dnat ")?;
                if family == Family::Inet {
                    f.write_str(if address.is_ipv4() { "ip " } else { "ip6 " })?;
                }
                match (address, port) {
                    (address, None) => write!(f, "to {address}"),
                    (IpAddr::V4(address), Some(port)) => write!(f, "to {address}:{port}"),
                    (IpAddr::V6(address), Some(port)) => write!(f, "to [{address}]:{port}"),
                }
            }
            Self::DnatMap { family, fields, map } => {
                let family = if *family == NfProto::Ipv4 { "ip" } else { "ip6" };
                write!(f, "dnat {family} to {} map @{map}", names(fields)?)
            }
            Self::Verdict(verdict) => write!(f, "{verdict}"),
        }
    }
}

impl Field {
    /// The address family whose header holds the field.
    pub(crate) fn family(self) -> Option<NfProto> {
        match self {
            Self::IpSaddr | Self::IpDaddr => Some(NfProto::Ipv4),
            Self::Ip6Saddr | Self::Ip6Daddr | Self::Icmpv6Type => Some(NfProto::Ipv6),
            _ => None,
        }
    }
}

/// Whether nft writes `<protocol> dport` rather than `th dport`.
fn has_port_names(protocol: Protocol) -> bool {
    [Protocol::TCP, Protocol::UDP, Protocol::SCTP].contains(&protocol)
}

/// A rule's statements as nft prints them in a table of this family.
pub(crate) fn text(statements: &[Statement], family: Family) -> String {
    let mut text = String::new();
    let mut protocol = None;
    for (index, statement) in statements.iter().enumerate() {
        protocol = statement.known_protocol().or(protocol);
        if statement.is_implied_by(&statements[index + 1..]) {
            continue;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        if statement.write(&mut text, protocol, family).is_err() {
            unreachable!("writing to a string cannot fail");
        }
    }
    text
}
