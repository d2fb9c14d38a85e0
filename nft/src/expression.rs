//! Statements as the kernel's expressions: load into registers, compare, look up, act.

use crate::attribute::AttributeWriter;
use crate::error::InvalidObject;
use crate::field::Field;
use crate::protocol::{NfProto, Protocol};
use crate::statement::Statement;
use crate::table::Family;
use crate::uapi::data;
use crate::value::{DataType, Value};
use crate::verdict::Verdict;

/// NFT_REG_VERDICT.
const VERDICT_REGISTER: u32 = 0;
/// NFT_REG32_00, the first of sixteen registers of four bytes each.
const FIRST_REGISTER: u32 = 8;

#[derive(Clone, Copy)]
enum Comparison {
    Equal = 0,
    NotEqual = 1,
    AtMost = 3,
    AtLeast = 5,
}

/// Writes a rule's expressions into the list attribute.
pub(crate) struct ExpressionWriter<'a> {
    writer: &'a mut AttributeWriter,
    /// What earlier matches have made sure of, so that it is not matched twice.
    family: Option<NfProto>,
    protocol: Option<Protocol>,
}

impl<'a> ExpressionWriter<'a> {
    /// Starts a rule in a table of this family.
    pub(crate) fn new(writer: &'a mut AttributeWriter, family: Family) -> Self {
        let family = match family {
            Family::Inet => None,
            Family::Ip => Some(NfProto::Ipv4),
            Family::Ip6 => Some(NfProto::Ipv6),
        };
        Self { writer, family, protocol: None }
    }

    /// Writes one statement.
    pub(crate) fn statement(&mut self, statement: &Statement) -> Result<(), InvalidObject> {
        for field in statement.fields() {
            self.need(*field)?;
        }
        match statement {
            Statement::CtDirection(direction) => {
                self.expression("ct", |ct| {
                    ct.u32(1, FIRST_REGISTER);
                    ct.u32(2, 1); // NFT_CT_DIRECTION
                });
                self.compare(Comparison::Equal, &[direction.number()]);
            }
            Statement::CtState { negated, states } => {
                self.expression("ct", |ct| {
                    ct.u32(1, FIRST_REGISTER);
                    ct.u32(2, 0); // NFT_CT_STATE
                });
                let bits: u32 = states.iter().map(|state| state.bit()).sum();
                self.mask(&bits.to_ne_bytes());
                let none = if *negated { Comparison::Equal } else { Comparison::NotEqual };
                self.compare(none, &0u32.to_ne_bytes());
            }
            Statement::Compare { field, negated, value } => {
                self.load(*field, FIRST_REGISTER);
                let mut bytes = value.encode()?;
                if let Value::Ifname(name) = value
                    && let Some(prefix) = name.strip_suffix('*')
                {
                    bytes.truncate(prefix.len()); // a wildcard compares the bytes before it
                }
                self.compare(if *negated { Comparison::NotEqual } else { Comparison::Equal }, &bytes);
            }
            Statement::Prefix { field, negated, net } => {
                self.load(*field, FIRST_REGISTER);
                self.mask(&Value::from(net.netmask()).encode()?);
                let network = Value::from(net.network()).encode()?;
                self.compare(if *negated { Comparison::NotEqual } else { Comparison::Equal }, &network);
            }
            Statement::Range { field, from, to } => {
                self.load(*field, FIRST_REGISTER);
                self.compare(Comparison::AtLeast, &from.encode()?);
                self.compare(Comparison::AtMost, &to.encode()?);
            }
            Statement::Lookup { fields, negated, set } => self.lookup(fields, set, None, *negated),
            Statement::Vmap { fields, map } => self.lookup(fields, map, Some(VERDICT_REGISTER), false),
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
            Statement::Masquerade => self.expression("masq", |_| {}),
            Statement::Dnat { address, port } => {
                let family = if address.is_ipv4() { NfProto::Ipv4 } else { NfProto::Ipv6 };
                let bytes = Value::from(*address).encode()?;
                self.immediate(FIRST_REGISTER, &bytes);
                let port_register = port.map(|port| {
                    let register = FIRST_REGISTER + registers(bytes.len());
                    self.immediate(register, &port.to_be_bytes());
                    register
                });
                self.destination_nat(family, port_register);
            }
            Statement::DnatMap { family, fields, map } => {
                self.lookup(fields, map, Some(FIRST_REGISTER), false);
                let address = if *family == NfProto::Ipv4 { DataType::Ipv4Addr } else { DataType::Ipv6Addr };
                self.destination_nat(*family, Some(FIRST_REGISTER + registers(address.size())));
            }
            Statement::Verdict(verdict) => self.expression("immediate", |immediate| {
                immediate.u32(1, VERDICT_REGISTER);
                immediate.nest(2, |data| write_verdict(data, verdict));
            }),
        }
        self.family = statement.known_family().or(self.family);
        self.protocol = statement.known_protocol().or(self.protocol);
        Ok(())
    }

    /// Matches what must hold before a header's field means what its name says.
    fn need(&mut self, field: Field) -> Result<(), InvalidObject> {
        if field == Field::Icmpv6Type && self.protocol == Some(Protocol::ICMPV6) {
            return Ok(()); // the protocol alone says enough
        }
        if let Some(family) = field.family() {
            self.need_family(family)?;
        }
        if field == Field::Icmpv6Type {
            let value = Value::Protocol(Protocol::ICMPV6);
            self.statement(&Statement::Compare { field: Field::L4proto, negated: false, value })?;
        }
        Ok(())
    }

    fn need_family(&mut self, family: NfProto) -> Result<(), InvalidObject> {
        if self.family == Some(family) {
            return Ok(());
        }
        self.statement(&Statement::Compare { field: Field::Nfproto, negated: false, value: family.into() })
    }

    fn load(&mut self, field: Field, register: u32) {
        let meta = |key: u32| ("meta", vec![(1, register), (2, key)]);
        let payload = |base: u32, offset: u32| {
            ("payload", vec![(1, register), (2, base), (3, offset), (4, field.data_type().size() as u32)])
        };
        let (network, transport) = (1, 2);
        let (name, attributes) = match field {
            Field::Mark => meta(3),
            Field::Iifname => meta(6),
            Field::Oifname => meta(7),
            Field::Nfproto => meta(15),
            Field::L4proto => meta(16),
            Field::IpSaddr => payload(network, 12),
            Field::IpDaddr => payload(network, 16),
            Field::Ip6Saddr => payload(network, 8),
            Field::Ip6Daddr => payload(network, 24),
            Field::Sport | Field::Icmpv6Type => payload(transport, 0),
            Field::Dport => payload(transport, 2),
        };
        self.expression(name, |expression| attributes.iter().for_each(|(kind, value)| expression.u32(*kind, *value)));
    }

    fn lookup(&mut self, fields: &[Field], set: &str, destination: Option<u32>, negated: bool) {
        let mut register = FIRST_REGISTER;
        for field in fields {
            self.load(*field, register);
            register += registers(field.data_type().size());
        }
        self.expression("lookup", |lookup| {
            lookup.text(1, set);
            lookup.u32(2, FIRST_REGISTER);
            if let Some(register) = destination {
                lookup.u32(3, register);
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

    fn destination_nat(&mut self, family: NfProto, port_register: Option<u32>) {
        self.expression("nat", |nat| {
            nat.u32(1, 1); // NFT_NAT_DNAT
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

/// How many registers this many bytes take.
fn registers(bytes: usize) -> u32 {
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
