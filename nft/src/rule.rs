//! Rules, built by a chain of verbs that reads like `nft list`.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::action::{NatFlag, NatKind, Reject};
use crate::element::Element;
use crate::field::{CtDirection, CtState, CtStatus, Field};
use crate::lookup::{LookupKey, Numgen, SetRef};
use crate::protocol::{IcmpType, Icmpv6Type, NfProto, Protocol};
use crate::statement::Statement;
use crate::table::Family;
use crate::value::Value;
use crate::verdict::Verdict;

/// A rule: matches from left to right, then what to do.
///
/// ```
/// use netpol_nft::{CtState, Protocol, Rule};
/// let rule = Rule::new().iifname_in("uplinks").ip_saddr_in("peers").l4proto(Protocol::TCP).dport(80).accept();
/// assert_eq!(rule.to_string(), "iifname @uplinks ip saddr @peers tcp dport 80 accept");
/// assert_eq!(Rule::new().ct_state(&[CtState::Related, CtState::Established]).accept().to_string(),
///            "ct state established,related accept");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    pub(crate) statements: Vec<Statement>,
    pub(crate) comment: Option<String>,
}

/// The verbs that every field has: equal, not equal, in a set, not in a set, by a verdict map.
macro_rules! field_verbs {
    ($($field:ident($parameter:ty => $value:ty): $eq:ident $not:ident $in_set:ident $not_in_set:ident $vmap:ident;)+) => {
        /// Matches on one field of the packet. Names are those of the field in nft, with what is done to it.
        impl Rule {
            $(
                #[doc = concat!("[`Field::", stringify!($field), "`] is the value.")]
                pub fn $eq(self, value: $parameter) -> Self {
                    let value: $value = value.into();
                    self.compare(Field::$field, false, value)
                }

                #[doc = concat!("[`Field::", stringify!($field), "`] is not the value (`!=`).")]
                pub fn $not(self, value: $parameter) -> Self {
                    let value: $value = value.into();
                    self.compare(Field::$field, true, value)
                }

                #[doc = concat!("[`Field::", stringify!($field), "`] is in the set: a named one (`@set`), or the rule's own (`{ … }`).")]
                pub fn $in_set(self, set: impl Into<SetRef>) -> Self {
                    self.lookup(&[Field::$field], set)
                }

                #[doc = concat!("[`Field::", stringify!($field), "`] is not in the set: a named one (`!= @set`), or the rule's own (`!= { … }`).")]
                pub fn $not_in_set(self, set: impl Into<SetRef>) -> Self {
                    self.lookup_not(&[Field::$field], set)
                }

                #[doc = concat!("The verdict that the map, a named one or the rule's own, has for [`Field::", stringify!($field), "`]; none: goes on.")]
                pub fn $vmap(self, map: impl Into<SetRef>) -> Self {
                    self.vmap(&[Field::$field], map)
                }
            )+
        }
    };
}

field_verbs! {
    Iifname(impl Into<String> => String): iifname iifname_not iifname_in iifname_not_in iifname_vmap;
    Oifname(impl Into<String> => String): oifname oifname_not oifname_in oifname_not_in oifname_vmap;
    Nfproto(NfProto => NfProto): nfproto nfproto_not nfproto_in nfproto_not_in nfproto_vmap;
    L4proto(Protocol => Protocol): l4proto l4proto_not l4proto_in l4proto_not_in l4proto_vmap;
    Mark(u32 => Mark): mark mark_not mark_in mark_not_in mark_vmap;
    IpSaddr(impl Into<Ipv4Net> => Ipv4Net): ip_saddr ip_saddr_not ip_saddr_in ip_saddr_not_in ip_saddr_vmap;
    IpDaddr(impl Into<Ipv4Net> => Ipv4Net): ip_daddr ip_daddr_not ip_daddr_in ip_daddr_not_in ip_daddr_vmap;
    Ip6Saddr(impl Into<Ipv6Net> => Ipv6Net): ip6_saddr ip6_saddr_not ip6_saddr_in ip6_saddr_not_in ip6_saddr_vmap;
    Ip6Daddr(impl Into<Ipv6Net> => Ipv6Net): ip6_daddr ip6_daddr_not ip6_daddr_in ip6_daddr_not_in ip6_daddr_vmap;
    Sport(u16 => u16): sport sport_not sport_in sport_not_in sport_vmap;
    Dport(u16 => u16): dport dport_not dport_in dport_not_in dport_vmap;
    Icmpv6Type(Icmpv6Type => Icmpv6Type): icmpv6_type icmpv6_type_not icmpv6_type_in icmpv6_type_not_in icmpv6_type_vmap;
    IcmpType(IcmpType => IcmpType): icmp_type icmp_type_not icmp_type_in icmp_type_not_in icmp_type_vmap;
    CtMark(u32 => Mark): ct_mark ct_mark_not ct_mark_in ct_mark_not_in ct_mark_vmap;
    CtOriginalIpSaddr(impl Into<Ipv4Net> => Ipv4Net): ct_original_ip_saddr ct_original_ip_saddr_not
        ct_original_ip_saddr_in ct_original_ip_saddr_not_in ct_original_ip_saddr_vmap;
    CtOriginalIpDaddr(impl Into<Ipv4Net> => Ipv4Net): ct_original_ip_daddr ct_original_ip_daddr_not
        ct_original_ip_daddr_in ct_original_ip_daddr_not_in ct_original_ip_daddr_vmap;
    CtOriginalIp6Saddr(impl Into<Ipv6Net> => Ipv6Net): ct_original_ip6_saddr ct_original_ip6_saddr_not
        ct_original_ip6_saddr_in ct_original_ip6_saddr_not_in ct_original_ip6_saddr_vmap;
    CtOriginalIp6Daddr(impl Into<Ipv6Net> => Ipv6Net): ct_original_ip6_daddr ct_original_ip6_daddr_not
        ct_original_ip6_daddr_in ct_original_ip6_daddr_not_in ct_original_ip6_daddr_vmap;
    CtOriginalProtoDst(u16 => u16): ct_original_proto_dst ct_original_proto_dst_not
        ct_original_proto_dst_in ct_original_proto_dst_not_in ct_original_proto_dst_vmap;
}

/// A packet mark, kept apart from other numbers.
struct Mark(u32);

impl From<u32> for Mark {
    fn from(mark: u32) -> Self {
        Self(mark)
    }
}

impl Rule {
    /// A rule that matches everything and does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The connection's state is one of these.
    pub fn ct_state(self, states: &[CtState]) -> Self {
        self.and(Statement::CtState { negated: false, states: BTreeSet::from_iter(states.iter().copied()) })
    }

    /// One of these has become of the connection.
    pub fn ct_status(self, statuses: &[CtStatus]) -> Self {
        self.and(Statement::CtStatus { negated: false, statuses: BTreeSet::from_iter(statuses.iter().copied()) })
    }

    /// None of these has become of the connection.
    pub fn ct_status_not(self, statuses: &[CtStatus]) -> Self {
        self.and(Statement::CtStatus { negated: true, statuses: BTreeSet::from_iter(statuses.iter().copied()) })
    }

    /// The packet comes from this side of its connection.
    pub fn ct_direction(self, direction: CtDirection) -> Self {
        self.and(Statement::CtDirection(direction))
    }

    /// The connection's state is none of these.
    pub fn ct_state_not(self, states: &[CtState]) -> Self {
        self.and(Statement::CtState { negated: true, states: BTreeSet::from_iter(states.iter().copied()) })
    }

    /// The destination port lies in the range, both ends included.
    pub fn dport_range(self, ports: RangeInclusive<u16>) -> Self {
        self.range(Field::Dport, (*ports.start()).into(), (*ports.end()).into())
    }

    /// The source port lies in the range, both ends included.
    pub fn sport_range(self, ports: RangeInclusive<u16>) -> Self {
        self.range(Field::Sport, (*ports.start()).into(), (*ports.end()).into())
    }

    /// The type of ICMPv6 message lies in the range, both ends included.
    pub fn icmpv6_type_range(self, types: RangeInclusive<u8>) -> Self {
        self.range(Field::Icmpv6Type, Icmpv6Type(*types.start()).into(), Icmpv6Type(*types.end()).into())
    }

    /// Protocol and destination port are in the set, of type `inet_proto . inet_service`.
    pub fn l4proto_dport_in(self, set: impl Into<SetRef>) -> Self {
        self.lookup(&[Field::L4proto, Field::Dport], set)
    }

    /// Protocol and destination port are not in the set, of type `inet_proto . inet_service`.
    pub fn l4proto_dport_not_in(self, set: impl Into<SetRef>) -> Self {
        self.lookup_not(&[Field::L4proto, Field::Dport], set)
    }

    /// The fields, concatenated, are in the set: a named one, or the rule's own.
    pub fn lookup(self, fields: &[Field], set: impl Into<SetRef>) -> Self {
        self.and(Statement::Lookup { key: LookupKey::Fields(fields.to_vec()), negated: false, set: set.into() })
    }

    /// The fields, concatenated, are not in the set: a named one, or the rule's own.
    pub fn lookup_not(self, fields: &[Field], set: impl Into<SetRef>) -> Self {
        self.and(Statement::Lookup { key: LookupKey::Fields(fields.to_vec()), negated: true, set: set.into() })
    }

    /// The verdict that the map, a named one or the rule's own, has for the fields, concatenated; none: goes on with the next rule.
    pub fn vmap(self, fields: &[Field], map: impl Into<SetRef>) -> Self {
        self.and(Statement::Vmap { key: LookupKey::Fields(fields.to_vec()), map: map.into() })
    }

    /// The verdict that the rule's own map has for a number that the kernel makes: `numgen random mod 2 vmap { 0 : …, 1 : … }`.
    pub fn numgen_vmap(self, numgen: Numgen, verdicts: impl IntoIterator<Item = Verdict>) -> Self {
        let element = |(number, verdict)| Element::new(Value::Integer(number)).verdict(verdict);
        let map = SetRef::Anonymous((numgen.offset..).zip(verdicts).map(element).collect());
        self.and(Statement::Vmap { key: LookupKey::Numgen(numgen), map })
    }

    /// Puts the fields, concatenated, into a set that packets fill, for this long from now.
    pub fn update(self, set: impl Into<String>, fields: &[Field], timeout: Duration) -> Self {
        let timeout = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.and(Statement::Update { fields: fields.to_vec(), set: set.into(), timeout })
    }

    /// The host has no route back to the source by the interface of arrival: a forged source (P39).
    pub fn fib_saddr_iif_missing(self) -> Self {
        self.and(Statement::FibSaddrIifMissing)
    }

    /// Counts packets and bytes that come so far.
    pub fn counter(self) -> Self {
        self.and(Statement::Counter)
    }

    /// Sets the packet's mark.
    pub fn set_mark(self, mark: u32) -> Self {
        self.and(Statement::SetMark(mark))
    }

    /// Sets the mark of the packet's connection.
    pub fn set_ct_mark(self, mark: u32) -> Self {
        self.and(Statement::SetCtMark(mark))
    }

    /// Keeps connection tracking from the packet. For chains before it, in prerouting and output.
    pub fn notrack(self) -> Self {
        self.and(Statement::Notrack)
    }

    /// Ends the base chain: the packet passes it.
    pub fn accept(self) -> Self {
        self.verdict(Verdict::Accept)
    }

    /// Ends the packet.
    pub fn drop(self) -> Self {
        self.verdict(Verdict::Drop)
    }

    /// Goes back to the calling chain.
    pub fn return_(self) -> Self {
        self.verdict(Verdict::Return)
    }

    /// Ends the packet and tells its sender. For filter chains in input, forward and output.
    pub fn reject(self, reject: Reject) -> Self {
        self.and(Statement::Reject(reject))
    }

    /// Evaluates a chain, then comes back.
    pub fn jump(self, chain: impl Into<String>) -> Self {
        self.verdict(Verdict::jump(chain))
    }

    /// Evaluates a chain and does not come back.
    pub fn goto(self, chain: impl Into<String>) -> Self {
        self.verdict(Verdict::goto(chain))
    }

    /// A verdict that is known at run time only.
    pub fn verdict(self, verdict: Verdict) -> Self {
        self.and(Statement::Verdict(verdict))
    }

    /// Translates the source to the address of the leaving interface. For nat chains in postrouting.
    pub fn masquerade(self) -> Self {
        self.masquerade_with(&[])
    }

    /// Masquerades with flags on how the port is picked.
    pub fn masquerade_with(self, flags: &[NatFlag]) -> Self {
        self.and(Statement::Masquerade { flags: BTreeSet::from_iter(flags.iter().copied()) })
    }

    /// Translates the source; without a port it stays unless it is taken. For nat chains in postrouting and input.
    /// A port asks that the rule matches a protocol that has ports.
    pub fn snat(self, address: impl Into<IpAddr>, port: Option<u16>) -> Self {
        self.and(Statement::Nat { kind: NatKind::Snat, address: address.into(), port })
    }

    /// Translates the destination; without a port the port stays. For nat chains in prerouting and output.
    /// A port asks that the rule matches a protocol that has ports.
    pub fn dnat(self, address: impl Into<IpAddr>, port: Option<u16>) -> Self {
        self.and(Statement::Nat { kind: NatKind::Dnat, address: address.into(), port })
    }

    /// Translates the destination to the address and port (`ipv4_addr . inet_service`, or IPv6) that the map, a named one or
    /// the rule's own, has for the fields; none: goes on with the next rule.
    pub fn dnat_map(self, family: NfProto, fields: &[Field], map: impl Into<SetRef>) -> Self {
        let key = LookupKey::Fields(fields.to_vec());
        self.and(Statement::NatMap { kind: NatKind::Dnat, family, key, map: map.into() })
    }

    /// Translates the source to the address and port that the map has for the fields; none: goes on with the next rule.
    pub fn snat_map(self, family: NfProto, fields: &[Field], map: impl Into<SetRef>) -> Self {
        let key = LookupKey::Fields(fields.to_vec());
        self.and(Statement::NatMap { kind: NatKind::Snat, family, key, map: map.into() })
    }

    /// Translates the destination to one of these addresses and ports, which are of one family, by a number that the kernel
    /// makes: `dnat ip to numgen random mod 2 map { 0 : …, 1 : … }`. None of them: goes on with the next rule.
    pub fn dnat_numgen(self, numgen: Numgen, to: impl IntoIterator<Item = (IpAddr, u16)>) -> Self {
        let element = |(number, (address, port)): (u32, (IpAddr, u16))| {
            Element::new(Value::Integer(number)).data((Value::from(address), port))
        };
        let to: Vec<(IpAddr, u16)> = to.into_iter().collect();
        let ipv6 = to.first().is_some_and(|(address, _)| address.is_ipv6());
        let family = if ipv6 { NfProto::Ipv6 } else { NfProto::Ipv4 };
        let map = SetRef::Anonymous((numgen.offset..).zip(to).map(element).collect());
        self.and(Statement::NatMap { kind: NatKind::Dnat, family, key: LookupKey::Numgen(numgen), map })
    }

    /// Translates the destination to this port of the host itself. For nat chains in prerouting and output, after a match on
    /// a protocol that has ports.
    pub fn redirect(self, port: u16) -> Self {
        self.and(Statement::Redirect { port })
    }

    /// Adds a note, at most 128 bytes. [`Connection::rules`](crate::Connection::rules) shows it.
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }

    /// The rule as nft prints it within a table of this family; [`Display`](fmt::Display) is the text in an inet table.
    pub fn text(&self, family: Family) -> String {
        let mut text = crate::rule_text::text(&self.statements, family);
        if let Some(comment) = &self.comment {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(&format!("comment \"{comment}\""));
        }
        text
    }

    fn compare(self, field: Field, negated: bool, with: impl Into<Operand>) -> Self {
        self.and(match with.into() {
            Operand::Value(value) => Statement::Compare { field, negated, value },
            Operand::Net(net) => Statement::Prefix { field, negated, net },
        })
    }

    fn range(self, field: Field, from: Value, to: Value) -> Self {
        self.and(Statement::Range { field, from, to })
    }

    fn and(mut self, statement: Statement) -> Self {
        self.statements.push(statement);
        self
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(Family::Inet))
    }
}

/// The right side of a comparison.
enum Operand {
    Value(Value),
    Net(IpNet),
}

impl From<Ipv4Net> for Operand {
    fn from(net: Ipv4Net) -> Self {
        if net.prefix_len() == net.max_prefix_len() { Self::Value(net.addr().into()) } else { Self::Net(net.into()) }
    }
}

impl From<Ipv6Net> for Operand {
    fn from(net: Ipv6Net) -> Self {
        if net.prefix_len() == net.max_prefix_len() { Self::Value(net.addr().into()) } else { Self::Net(net.into()) }
    }
}

impl From<Mark> for Operand {
    fn from(mark: Mark) -> Self {
        Self::Value(Value::Mark(mark.0))
    }
}

macro_rules! operand_from_value {
    ($($source:ty),+) => {
        $(impl From<$source> for Operand {
            fn from(value: $source) -> Self {
                Self::Value(value.into())
            }
        })+
    };
}

operand_from_value!(String, NfProto, Protocol, IcmpType, Icmpv6Type, u16);
