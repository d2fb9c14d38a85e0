//! Statements as the kernel's expressions: load into registers, compare, look up, act.

use std::net::IpAddr;

use crate::action::{NatFlag, NatKind, Reject};
use crate::attribute::AttributeWriter;
use crate::error::InvalidObject;
use crate::field::Field;
use crate::lookup::{LookupKey, SetRef};
use crate::protocol::NfProto;
use crate::statement::Statement;
use crate::table::Family;
use crate::uapi::{ct, data};
use crate::value::{DataType, Value};
use crate::verdict::Verdict;

/// NFT_REG_VERDICT.
pub(crate) const VERDICT_REGISTER: u32 = 0;
/// NFT_REG32_00, the first of sixteen registers of four bytes each.
pub(crate) const FIRST_REGISTER: u32 = 8;

#[derive(Clone, Copy)]
pub(crate) enum Comparison {
    Equal = 0,
    NotEqual = 1,
    AtMost = 3,
    AtLeast = 5,
}

impl Comparison {
    fn equal(negated: bool) -> Self {
        if negated { Self::NotEqual } else { Self::Equal }
    }
}

/// Writes a rule's expressions into the list attribute.
pub(crate) struct ExpressionWriter<'a> {
    pub(crate) writer: &'a mut AttributeWriter,
    /// The family of the rule's table.
    pub(crate) table_family: Family,
    /// The family of the packets that come so far: at first that of the rule's table.
    pub(crate) family: Family,
    /// The numbers in the batch of the rule's own sets: those of the statements to come, in order.
    pub(crate) anonymous_sets: std::vec::IntoIter<u32>,
}

impl ExpressionWriter<'_> {
    /// Writes one statement. What it implies has been written before.
    pub(crate) fn statement(&mut self, statement: &Statement) -> Result<(), InvalidObject> {
        match statement.known_family() {
            Some(NfProto::Ipv4) => self.family = Family::Ip,
            Some(NfProto::Ipv6) => self.family = Family::Ip6,
            None => {}
        }
        match statement {
            Statement::CtDirection(direction) => {
                self.load_ct(ct::DIRECTION, None, FIRST_REGISTER);
                self.compare(Comparison::Equal, &[direction.number()]);
            }
            Statement::CtState { negated, states } => {
                self.ct_bits(ct::STATE, *negated, states.iter().map(|state| state.bit()).sum());
            }
            Statement::CtStatus { negated, statuses } => {
                self.ct_bits(ct::STATUS, *negated, statuses.iter().map(|status| status.bit()).sum());
            }
            Statement::Compare { field, negated, value } => {
                self.load(*field, FIRST_REGISTER);
                let mut bytes = value.encode()?;
                if let Value::Ifname(name) = value
                    && let Some(prefix) = name.strip_suffix('*')
                {
                    bytes.truncate(prefix.len()); // a wildcard compares the bytes before it
                }
                self.compare(Comparison::equal(*negated), &bytes);
            }
            Statement::Prefix { field, negated, net } => {
                self.load(*field, FIRST_REGISTER);
                self.mask(&Value::from(net.netmask()).encode()?);
                self.compare(Comparison::equal(*negated), &Value::from(net.network()).encode()?);
            }
            Statement::Range { field, from, to } => {
                self.load(*field, FIRST_REGISTER);
                self.compare(Comparison::AtLeast, &from.encode()?);
                self.compare(Comparison::AtMost, &to.encode()?);
            }
            Statement::Lookup { key, negated, set } => self.lookup(key, set, None, *negated),
            Statement::Update { fields, set, timeout } => {
                self.load_all(fields);
                self.expression("dynset", |update| {
                    update.text(1, set);
                    update.u32(3, 1); // NFT_DYNSET_OP_UPDATE
                    update.u32(4, FIRST_REGISTER);
                    update.u64(6, *timeout);
                });
            }
            Statement::Vmap { key, map } => self.lookup(key, map, Some(VERDICT_REGISTER), false),
            Statement::FibSaddrIifMissing => {
                self.expression("fib", |fib| {
                    fib.u32(1, FIRST_REGISTER);
                    fib.u32(2, 1); // NFT_FIB_RESULT_OIF
                    fib.u32(3, 0x1 | 0x8 | 0x20); // NFTA_FIB_F_SADDR, _IIF, _PRESENT
                });
                self.compare(Comparison::Equal, &0u32.to_ne_bytes());
            }
            Statement::Counter => self.expression("counter", |counter| {
                counter.u64(1, 0);
                counter.u64(2, 0);
            }),
            Statement::SetMark(mark) => {
                self.immediate(FIRST_REGISTER, &mark.to_ne_bytes());
                self.expression("meta", |meta| {
                    meta.u32(2, 3); // NFT_META_MARK
                    meta.u32(3, FIRST_REGISTER);
                });
            }
            Statement::SetCtMark(mark) => {
                self.immediate(FIRST_REGISTER, &mark.to_ne_bytes());
                self.expression("ct", |expression| {
                    expression.u32(2, ct::MARK);
                    expression.u32(4, FIRST_REGISTER);
                });
            }
            Statement::Notrack => self.expression("notrack", |_| {}),
            Statement::Masquerade { flags } => {
                let flags = NatFlag::bits(flags);
                self.expression("masq", |masq| {
                    if flags != 0 {
                        masq.u32(1, flags)
                    }
                });
            }
            Statement::Redirect { port } => {
                self.immediate(FIRST_REGISTER, &port.to_be_bytes());
                self.expression("redir", |redir| {
                    redir.u32(1, FIRST_REGISTER);
                    redir.u32(3, 2); // NF_NAT_RANGE_PROTO_SPECIFIED
                });
            }
            Statement::Nat { kind, address, port } => self.nat(*kind, *address, *port)?,
            Statement::NatMap { kind, family, key, map } => {
                self.lookup(key, map, Some(FIRST_REGISTER), false);
                let address = if *family == NfProto::Ipv4 { DataType::Ipv4Addr } else { DataType::Ipv6Addr };
                self.translate(*kind, *family, Some(FIRST_REGISTER + registers(address.size())));
            }
            Statement::Reject(reject) => {
                // nft does likewise: where the family is known, plain `reject` is of that family.
                let family = if *reject == Reject::PortUnreachable { self.family } else { self.table_family };
                let (kind, code) = reject.numbers(family);
                self.expression("reject", |expression| {
                    expression.u32(1, kind);
                    if let Some(code) = code {
                        expression.bytes(2, &[code]);
                    }
                });
            }
            Statement::Foreign(name) => return Err(InvalidObject::Foreign { expression: name.clone() }),
            Statement::Verdict(verdict) => self.expression("immediate", |immediate| {
                immediate.u32(1, VERDICT_REGISTER);
                immediate.nest(2, |data| write_verdict(data, verdict));
            }),
        }
        Ok(())
    }

    fn load(&mut self, field: Field, register: u32) {
        match source(field) {
            Source::Meta(key) => self.expression("meta", |meta| {
                meta.u32(1, register);
                meta.u32(2, key);
            }),
            Source::Ct(key, original) => self.load_ct(key, original, register),
            Source::Payload(base, offset) => self.expression("payload", |payload| {
                payload.u32(1, register);
                payload.u32(2, base);
                payload.u32(3, offset);
                payload.u32(4, field.data_type().size() as u32);
            }),
        }
    }

    /// The fields, one after another from the first register on.
    fn load_all(&mut self, fields: &[Field]) {
        let mut register = FIRST_REGISTER;
        for field in fields {
            self.load(*field, register);
            register += registers(field.data_type().size());
        }
    }

    fn load_ct(&mut self, key: u32, direction: Option<u8>, register: u32) {
        self.expression("ct", |ct| {
            ct.u32(1, register);
            ct.u32(2, key);
            if let Some(direction) = direction {
                ct.bytes(3, &[direction]);
            }
        });
    }

    /// One of these bits is set, or none of them.
    fn ct_bits(&mut self, key: u32, negated: bool, bits: u32) {
        self.load_ct(key, None, FIRST_REGISTER);
        self.mask(&bits.to_ne_bytes());
        self.compare(Comparison::equal(!negated), &0u32.to_ne_bytes());
    }

    fn lookup(&mut self, key: &LookupKey, set: &SetRef, destination: Option<u32>, negated: bool) {
        match key {
            LookupKey::Fields(fields) => self.load_all(fields),
            LookupKey::Numgen(numgen) => self.expression("numgen", |expression| {
                expression.u32(1, FIRST_REGISTER);
                expression.u32(2, numgen.modulus);
                expression.u32(3, numgen.mode as u32);
                expression.u32(4, numgen.offset);
            }),
        }
        let (name, id) = match set {
            SetRef::Named(name) => (name.clone(), None),
            SetRef::Anonymous(elements) => (key.anonymous_set(elements).name, self.anonymous_sets.next()),
        };
        self.expression("lookup", |lookup| {
            lookup.text(1, &name);
            lookup.u32(2, FIRST_REGISTER);
            if let Some(register) = destination {
                lookup.u32(3, register);
            }
            if let Some(id) = id {
                lookup.u32(4, id);
            }
            if negated {
                lookup.u32(5, 1); // NFT_LOOKUP_F_INV
            }
        });
    }

    fn compare(&mut self, comparison: Comparison, bytes: &[u8]) {
        self.expression("cmp", |cmp| {
            cmp.u32(1, FIRST_REGISTER);
            cmp.u32(2, comparison as u32);
            cmp.nest(3, |data| data.bytes(data::VALUE, bytes));
        });
    }

    /// Keeps the bits of the mask.
    fn mask(&mut self, mask: &[u8]) {
        self.expression("bitwise", |bitwise| {
            bitwise.u32(1, FIRST_REGISTER);
            bitwise.u32(2, FIRST_REGISTER);
            bitwise.u32(3, mask.len() as u32);
            bitwise.nest(4, |data| data.bytes(data::VALUE, mask));
            bitwise.nest(5, |data| data.bytes(data::VALUE, &vec![0; mask.len()]));
        });
    }

    fn immediate(&mut self, register: u32, bytes: &[u8]) {
        self.expression("immediate", |immediate| {
            immediate.u32(1, register);
            immediate.nest(2, |data| data.bytes(data::VALUE, bytes));
        });
    }

    fn nat(&mut self, kind: NatKind, address: IpAddr, port: Option<u16>) -> Result<(), InvalidObject> {
        let family = if address.is_ipv4() { NfProto::Ipv4 } else { NfProto::Ipv6 };
        let bytes = Value::from(address).encode()?;
        self.immediate(FIRST_REGISTER, &bytes);
        let port_register = port.map(|port| {
            let register = FIRST_REGISTER + registers(bytes.len());
            self.immediate(register, &port.to_be_bytes());
            register
        });
        self.translate(kind, family, port_register);
        Ok(())
    }

    /// Translates to the address in the first register.
    fn translate(&mut self, kind: NatKind, family: NfProto, port_register: Option<u32>) {
        self.expression("nat", |nat| {
            nat.u32(1, kind.number());
            nat.u32(2, family.number().into());
            nat.u32(3, FIRST_REGISTER);
            if let Some(register) = port_register {
                nat.u32(5, register);
            }
        });
    }

    fn expression(&mut self, name: &str, attributes: impl FnOnce(&mut AttributeWriter)) {
        self.writer.nest(data::LIST_ELEM, |expression| {
            expression.text(1, name);
            expression.nest(2, attributes);
        });
    }
}

/// Where the kernel has a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// By key.
    Meta(u32),
    /// By key, and the direction of the connection if it has one.
    Ct(u32, Option<u8>),
    /// By header, 1 for the network's and 2 for the transport's, and offset.
    Payload(u32, u32),
}

/// Where the kernel has this field.
pub(crate) fn source(field: Field) -> Source {
    let (network, transport) = (1, 2);
    let original = |key| Source::Ct(key, Some(0));
    match field {
        Field::Mark => Source::Meta(3),
        Field::Iifname => Source::Meta(6),
        Field::Oifname => Source::Meta(7),
        Field::Nfproto => Source::Meta(15),
        Field::L4proto => Source::Meta(16),
        Field::IpSaddr => Source::Payload(network, 12),
        Field::IpDaddr => Source::Payload(network, 16),
        Field::Ip6Saddr => Source::Payload(network, 8),
        Field::Ip6Daddr => Source::Payload(network, 24),
        Field::Sport | Field::IcmpType | Field::Icmpv6Type => Source::Payload(transport, 0),
        Field::Dport => Source::Payload(transport, 2),
        Field::CtMark => Source::Ct(ct::MARK, None),
        Field::CtOriginalIpSaddr => original(ct::SRC_IP),
        Field::CtOriginalIpDaddr => original(ct::DST_IP),
        Field::CtOriginalIp6Saddr => original(ct::SRC_IP6),
        Field::CtOriginalIp6Daddr => original(ct::DST_IP6),
        Field::CtOriginalProtoDst => original(ct::PROTO_DST),
    }
}

/// How many registers this many bytes take.
pub(crate) fn registers(bytes: usize) -> u32 {
    bytes.div_ceil(4) as u32
}

/// Writes a verdict as data.
pub(crate) fn write_verdict(writer: &mut AttributeWriter, verdict: &Verdict) {
    let (code, chain): (i32, _) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Accept => (1, None),
        Verdict::Continue => (-1, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Goto(chain) => (-4, Some(chain)),
        Verdict::Return => (-5, None),
    };
    writer.nest(data::VERDICT, |verdict| {
        verdict.bytes(data::VERDICT_CODE, &code.to_be_bytes());
        if let Some(chain) = chain {
            verdict.text(data::VERDICT_CHAIN, chain);
        }
    });
}
