//! Rules as the kernel holds them, back as statements.
//!
//! Registers are followed as the kernel would fill them. What we never write is kept as a foreign statement, which equals
//! nothing that we write.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::action::{NatFlag, NatKind, Reject};
use crate::attribute::AttributeReader;
use crate::element::{Element, ElementValue};
use crate::element_wire::read_verdict;
use crate::expression::{Comparison, FIRST_REGISTER, Source, VERDICT_REGISTER, registers, source};
use crate::field::{CtDirection, CtState, CtStatus, Field};
use crate::lookup::{LookupKey, Numgen, NumgenMode, SetRef};
use crate::protocol::NfProto;
use crate::set::Set;
use crate::statement::Statement;
use crate::uapi::{ct, data};
use crate::value::{DataType, Value};

/// The sets of a table by name, with those of rules' own and, for these, their elements.
pub(crate) type KnownSets = BTreeMap<String, (Set, Option<Vec<Element>>)>;

/// What a register holds.
#[derive(Clone)]
enum Load {
    Field(Field),
    Masked(Field, Vec<u8>),
    CtState(u32),
    CtStatus(u32),
    CtDirection,
    FibSaddrIif,
    Immediate(Vec<u8>),
    Numgen(Numgen),
    Mapped(LookupKey, SetRef),
}

/// Decodes a rule's list of expressions.
pub(crate) fn decode(list: AttributeReader<'_>, sets: &KnownSets) -> Vec<Statement> {
    let mut decoder = Decoder { sets, registers: BTreeMap::new(), at_least: None, statements: Vec::new() };
    for (_, expression) in list.iter() {
        let name = expression.text(1).unwrap_or_default();
        let attributes = expression.get(2).unwrap_or(AttributeReader(&[]));
        if decoder.expression(&name, attributes).is_none() {
            decoder.statements.push(Statement::Foreign(name));
        }
    }
    decoder.statements
}

struct Decoder<'a> {
    sets: &'a KnownSets,
    registers: BTreeMap<u32, Load>,
    /// The lower end of a range whose upper end comes next.
    at_least: Option<Value>,
    statements: Vec<Statement>,
}

/// The number of a register of four bytes: the kernel tells those of sixteen bytes, 1 to 4, where both are meant.
fn register(attributes: AttributeReader<'_>, kind: u16) -> Option<u32> {
    Some(match attributes.u32(kind)? {
        VERDICT_REGISTER => VERDICT_REGISTER,
        wide @ 1..=4 => FIRST_REGISTER + (wide - 1) * 4,
        narrow => narrow,
    })
}

impl Decoder<'_> {
    fn expression(&mut self, name: &str, attributes: AttributeReader<'_>) -> Option<()> {
        let load = match name {
            "meta" | "ct" if register(attributes, 1).is_none() => return self.set_mark(name, attributes),
            "meta" => Load::Field(self.field(|found, _| found == Source::Meta(attributes.u32(2).unwrap_or(u32::MAX)))?),
            "ct" => self.ct(attributes)?,
            "payload" => {
                let place = Source::Payload(attributes.u32(2)?, attributes.u32(3)?);
                let length = attributes.u32(4)? as usize;
                Load::Field(self.field(|found, field| found == place && field.data_type().size() == length)?)
            }
            "fib" if (attributes.u32(2)?, attributes.u32(3)?) == (1, 0x29) => Load::FibSaddrIif,
            "numgen" => Load::Numgen(Numgen {
                modulus: attributes.u32(2)?,
                mode: if attributes.u32(3)? == 0 { NumgenMode::Incremental } else { NumgenMode::Random },
                offset: attributes.u32(4).unwrap_or(0),
            }),
            "bitwise" => return self.mask(attributes),
            "cmp" => return self.compare(attributes),
            "lookup" => return self.lookup(attributes),
            "dynset" => return self.update(attributes),
            "immediate" => match register(attributes, 1)? {
                VERDICT_REGISTER => {
                    let ElementValue::Verdict(verdict) = read_verdict(attributes.get(2)?.get(data::VERDICT)?)? else {
                        return None;
                    };
                    self.statements.push(Statement::Verdict(verdict));
                    return Some(());
                }
                _ => Load::Immediate(attributes.get(2)?.get(data::VALUE)?.0.to_vec()),
            },
            _ => {
                let action = self.action(name, attributes)?;
                self.statements.push(action);
                return Some(());
            }
        };
        self.registers.insert(register(attributes, 1)?, load);
        Some(())
    }

    /// The field that is at a place. Those of ICMP and ICMPv6 are at the same one: the protocol was matched before.
    fn field(&self, is_there: impl Fn(Source, Field) -> bool) -> Option<Field> {
        let protocol = self.statements.iter().rev().find_map(Statement::known_protocol);
        Field::ALL.into_iter().find(|field| {
            is_there(source(*field), *field) && (field.protocol().is_none() || field.protocol() == protocol)
        })
    }

    fn ct(&self, attributes: AttributeReader<'_>) -> Option<Load> {
        Some(match attributes.u32(2)? {
            ct::STATE => Load::CtState(u32::MAX),
            ct::STATUS => Load::CtStatus(u32::MAX),
            ct::DIRECTION => Load::CtDirection,
            key => Load::Field(self.field(|found, _| found == Source::Ct(key, attributes.u8(3)))?),
        })
    }

    fn set_mark(&mut self, name: &str, attributes: AttributeReader<'_>) -> Option<()> {
        let (key, register) = match name {
            "meta" => (attributes.u32(2)?, register(attributes, 3)?),
            _ => (attributes.u32(2)?, register(attributes, 4)?),
        };
        let mark = u32::from_ne_bytes(self.immediate(register)?.try_into().ok()?);
        // NFT_META_MARK and NFT_CT_MARK have the same number.
        (key == ct::MARK).then_some(())?;
        self.statements.push(if name == "meta" { Statement::SetMark(mark) } else { Statement::SetCtMark(mark) });
        Some(())
    }

    fn immediate(&self, register: u32) -> Option<&[u8]> {
        match self.registers.get(&register)? {
            Load::Immediate(bytes) => Some(bytes),
            _ => None,
        }
    }

    fn mask(&mut self, attributes: AttributeReader<'_>) -> Option<()> {
        let register = register(attributes, 2)?;
        let mask = attributes.get(4)?.get(data::VALUE)?.0;
        attributes.get(5)?.get(data::VALUE)?.0.iter().all(|byte| *byte == 0).then_some(())?;
        let bits = || Some(u32::from_ne_bytes(mask.try_into().ok()?));
        let masked = match self.registers.get(&register)? {
            Load::Field(field) => Load::Masked(*field, mask.to_vec()),
            Load::CtState(_) => Load::CtState(bits()?),
            Load::CtStatus(_) => Load::CtStatus(bits()?),
            _ => return None,
        };
        self.registers.insert(register, masked);
        Some(())
    }

    fn compare(&mut self, attributes: AttributeReader<'_>) -> Option<()> {
        let (operation, bytes) = (attributes.u32(2)?, attributes.get(3)?.get(data::VALUE)?.0);
        let negated = operation == Comparison::NotEqual as u32;
        let is_equality = negated || operation == Comparison::Equal as u32;
        let is_zero = bytes.iter().all(|byte| *byte == 0);
        let statement = match self.registers.get(&register(attributes, 1)?)? {
            Load::Field(field) if is_equality => {
                Statement::Compare { field: *field, negated, value: read(*field, bytes)? }
            }
            Load::Field(field) if operation == Comparison::AtLeast as u32 => {
                self.at_least = field.data_type().decode(bytes);
                return Some(());
            }
            Load::Field(field) if operation == Comparison::AtMost as u32 => {
                let (from, to) = (self.at_least.take()?, field.data_type().decode(bytes)?);
                Statement::Range { field: *field, from, to }
            }
            Load::Masked(field, mask) if is_equality => {
                Statement::Prefix { field: *field, negated, net: network(bytes, mask)? }
            }
            Load::CtState(mask) if is_equality && is_zero => {
                let states = CtState::ALL.into_iter().filter(|state| mask & state.bit() != 0).collect();
                Statement::CtState { negated: !negated, states }
            }
            Load::CtStatus(mask) if is_equality && is_zero => {
                let statuses = CtStatus::ALL.into_iter().filter(|status| mask & status.bit() != 0).collect();
                Statement::CtStatus { negated: !negated, statuses }
            }
            Load::CtDirection if is_equality && !negated => Statement::CtDirection(match bytes {
                [0] => CtDirection::Original,
                _ => CtDirection::Reply,
            }),
            Load::FibSaddrIif if is_equality && !negated && is_zero => Statement::FibSaddrIifMissing,
            _ => return None,
        };
        self.statements.push(statement);
        Some(())
    }

    fn lookup(&mut self, attributes: AttributeReader<'_>) -> Option<()> {
        let (name, start) = (attributes.text(1)?, register(attributes, 2)?);
        let (set, elements) = self.sets.get(&name)?;
        let key = match self.registers.get(&start)? {
            Load::Numgen(numgen) => LookupKey::Numgen(*numgen),
            _ => LookupKey::Fields(self.fields(start, &set.key)?),
        };
        let reference = match elements {
            None => SetRef::Named(name),
            Some(elements) => SetRef::Anonymous(elements.clone()),
        };
        let negated = attributes.u32(5).unwrap_or(0) & 1 != 0;
        match register(attributes, 3) {
            None => self.statements.push(Statement::Lookup { key, negated, set: reference }),
            Some(VERDICT_REGISTER) => self.statements.push(Statement::Vmap { key, map: reference }),
            Some(register) => drop(self.registers.insert(register, Load::Mapped(key, reference))),
        }
        Some(())
    }

    fn update(&mut self, attributes: AttributeReader<'_>) -> Option<()> {
        // Only updates of the key alone are ours: others have an operation, data, expressions or flags.
        let more = [5, 7].iter().any(|kind| attributes.get(*kind).is_some()) || attributes.u32(9).unwrap_or(0) != 0;
        let ours = attributes.u32(3)? == 1 && !more;
        let (set, timeout) = (attributes.text(1).filter(|_| ours)?, attributes.u64(6)?);
        let fields = self.fields(register(attributes, 4)?, &self.sets.get(&set)?.0.key)?;
        self.statements.push(Statement::Update { fields, set, timeout });
        Some(())
    }

    /// The fields that stand in the registers from this one on, of these types.
    fn fields(&self, mut register: u32, types: &[DataType]) -> Option<Vec<Field>> {
        let mut fields = Vec::new();
        for data_type in types {
            match self.registers.get(&register)? {
                Load::Field(field) if field.data_type() == *data_type => fields.push(*field),
                _ => return None,
            }
            register += registers(data_type.size());
        }
        Some(fields)
    }

    fn action(&self, name: &str, attributes: AttributeReader<'_>) -> Option<Statement> {
        let port = |kind| Some(u16::from_be_bytes(self.immediate(register(attributes, kind)?)?.try_into().ok()?));
        Some(match name {
            "counter" => Statement::Counter,
            "notrack" => Statement::Notrack,
            "masq" => {
                let bits = attributes.u32(1).unwrap_or(0);
                let flags = NatFlag::ALL.into_iter().filter(|flag| bits & flag.bit() != 0).collect();
                Statement::Masquerade { flags }
            }
            "redir" => Statement::Redirect { port: port(1)? },
            "reject" => Statement::Reject(match (attributes.u32(1)?, attributes.u8(2)) {
                (1, _) => Reject::TcpReset,
                (2, Some(1)) | (0, Some(3 | 4)) => Reject::PortUnreachable,
                (2, Some(3)) | (0, Some(1 | 13)) => Reject::AdminProhibited,
                _ => return None,
            }),
            "nat" => {
                let kind = if attributes.u32(1)? == 0 { NatKind::Snat } else { NatKind::Dnat };
                let family = if attributes.u32(2)? == 2 { NfProto::Ipv4 } else { NfProto::Ipv6 };
                match self.registers.get(&register(attributes, 3)?)? {
                    Load::Immediate(bytes) => Statement::Nat { kind, address: address(bytes)?, port: port(5) },
                    Load::Mapped(key, map) => Statement::NatMap { kind, family, key: key.clone(), map: map.clone() },
                    _ => return None,
                }
            }
            _ => return None,
        })
    }
}

/// A value that a field is compared with. A name of which only the beginning is compared has a wildcard.
fn read(field: Field, bytes: &[u8]) -> Option<Value> {
    match field.data_type() {
        DataType::Ifname if bytes.len() < DataType::Ifname.size() => {
            Some(Value::Ifname(format!("{}*", std::str::from_utf8(bytes).ok()?)))
        }
        data_type => data_type.decode(bytes),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        _ => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
    }
}

fn network(bytes: &[u8], mask: &[u8]) -> Option<IpNet> {
    IpNet::with_netmask(address(bytes)?, address(mask)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_registers_are_told_by_their_first_narrow_one() {
        let mut writer = crate::attribute::AttributeWriter::default();
        [0, 1, 2, 4, 9].iter().enumerate().for_each(|(kind, number)| writer.u32(kind as u16 + 1, *number));
        let numbers: Vec<_> = (1..=5).map(|kind| register(AttributeReader(&writer.bytes), kind)).collect();
        assert_eq!(numbers, [0, 8, 12, 20, 9].map(Some));
    }
}
