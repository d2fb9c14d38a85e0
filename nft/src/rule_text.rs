//! A rule's text as nft prints it.

use std::fmt::Write;
use std::net::IpAddr;

use crate::action::Reject;
use crate::field::Field;
use crate::protocol::{NfProto, Protocol};
use crate::statement::Statement;
use crate::table::Family;
use crate::value::Value;

/// A rule's statements as nft prints them in a table of this family.
pub(crate) fn text(statements: &[Statement], family: Family) -> String {
    let mut text = String::new();
    let mut known = Known::default();
    for (index, statement) in statements.iter().enumerate() {
        known.protocol = statement.known_protocol().or(known.protocol);
        // A header's field implies its family.
        let of_fields = statement.fields().iter().find_map(|field| field.family());
        known.family = statement.known_family().or(of_fields).or(known.family);
        if statement.is_implied_by(&statements[index + 1..], family) {
            continue;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        if statement.write(&mut text, known, family).is_err() {
            unreachable!("writing to a string cannot fail");
        }
    }
    text
}

/// What earlier matches have made sure of.
#[derive(Clone, Copy, Default)]
struct Known {
    protocol: Option<Protocol>,
    family: Option<NfProto>,
}

impl Statement {
    /// Whether nft leaves this match out because a later one implies it: `tcp dport 80` for `meta l4proto tcp th dport 80`.
    fn is_implied_by(&self, later: &[Self], family: Family) -> bool {
        let matches = later.iter().take_while(|statement| statement.is_match()).count();
        let resets = later.get(matches) == Some(&Self::Reject(Reject::TcpReset));
        if family != Family::Inet && resets && self.known_protocol() == Some(Protocol::TCP) {
            return true;
        }
        // Also the next action may read fields: `vmap`, `dnat to … map`.
        let mut fields = later.iter().take(matches + 1).flat_map(Self::fields).copied();
        if let Some(protocol) = self.known_protocol() {
            fields.any(|field| match field {
                Field::Sport | Field::Dport => has_port_names(protocol),
                _ => field.protocol() == Some(protocol),
            })
        } else if let Some(family) = self.known_family() {
            fields.any(|field| field.family() == Some(family))
        } else {
            false
        }
    }

    fn write(&self, f: &mut String, known: Known, family: Family) -> std::fmt::Result {
        let name = |field: Field| match (field, known.protocol) {
            (Field::Sport, Some(protocol)) if has_port_names(protocol) => format!("{protocol} sport"),
            (Field::Dport, Some(protocol)) if has_port_names(protocol) => format!("{protocol} dport"),
            _ => field.name().to_owned(),
        };
        let not = |negated: bool| if negated { "!= " } else { "" };
        match self {
            Self::CtDirection(direction) => write!(f, "ct direction {direction}"),
            Self::CtState { negated, states } => write!(f, "ct state {}{}", none_of(*negated), list(states)),
            Self::CtStatus { negated, statuses } => write!(f, "ct status {}{}", none_of(*negated), list(statuses)),
            Self::Compare { field, negated, value } => write!(f, "{} {}{value}", name(*field), not(*negated)),
            Self::Prefix { field, negated, net } => write!(f, "{} {}{}", name(*field), not(*negated), net.trunc()),
            Self::Range { field, from: Value::Icmpv6Type(from), to: Value::Icmpv6Type(to) } => {
                write!(f, "{} {}-{}", name(*field), from.0, to.0)
            }
            Self::Range { field, from, to } => write!(f, "{} {from}-{to}", name(*field)),
            Self::Lookup { key, negated, set } => write!(f, "{} {}{set}", key.text(name), not(*negated)),
            Self::FibSaddrIifMissing => f.write_str("fib saddr . iif oif missing"),
            Self::Counter => f.write_str("counter"),
            Self::SetMark(mark) => write!(f, "meta mark set 0x{mark:08x}"),
            Self::SetCtMark(mark) => write!(f, "ct mark set 0x{mark:08x}"),
            Self::Notrack => f.write_str("notrack"),
            Self::Update { fields, set, timeout } => {
                let key = fields.iter().map(|field| name(*field)).collect::<Vec<_>>().join(" . ");
                write!(f, "update @{set} {{ {key} timeout {} }}", duration(*timeout))
            }
            Self::Vmap { key, map } => write!(f, "{} vmap {map}", key.text(name)),
            Self::Masquerade { flags } if flags.is_empty() => f.write_str("masquerade"),
            Self::Masquerade { flags } => write!(f, "masquerade {}", list(flags)),
            Self::Redirect { port } => write!(f, "redirect to :{port}"),
            Self::Nat { kind, address, port } => {
                write!(f, "{} ", kind.name())?;
                if family == Family::Inet {
                    f.write_str(if address.is_ipv4() { "ip " } else { "ip6 " })?;
                }
                match (address, port) {
                    (address, None) => write!(f, "to {address}"),
                    (IpAddr::V4(address), Some(port)) => write!(f, "to {address}:{port}"),
                    (IpAddr::V6(address), Some(port)) => write!(f, "to [{address}]:{port}"),
                }
            }
            Self::NatMap { kind, family, key, map } => {
                let family = if *family == NfProto::Ipv4 { "ip" } else { "ip6" };
                write!(f, "{} {family} to {} map {map}", kind.name(), key.text(name))
            }
            Self::Reject(reject) => f.write_str(reject.text(family, known.family)),
            Self::Foreign(name) => write!(f, "<{name}>"),
            Self::Verdict(verdict) => write!(f, "{verdict}"),
        }
    }
}

/// Milliseconds as nft prints them, such as `1h30m`.
fn duration(milliseconds: u64) -> String {
    let mut left = milliseconds;
    let mut text = String::new();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        if left >= length {
            text += &format!("{}{unit}", left / length);
            left %= length;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

fn none_of(negated: bool) -> &'static str {
    if negated { "! " } else { "" }
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}

/// Whether nft writes `<protocol> dport` rather than `th dport`.
fn has_port_names(protocol: Protocol) -> bool {
    [Protocol::TCP, Protocol::UDP, Protocol::SCTP].contains(&protocol)
}
