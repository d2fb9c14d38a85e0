//! Netlink attributes: writing them into a buffer, and reading them.

use netlink_packet_core::{NLA_F_NESTED, NLA_HEADER_SIZE, NlasIterator};

/// Writes attributes. nf_tables wants numbers in network byte order.
#[derive(Default)]
pub(crate) struct AttributeWriter {
    pub(crate) bytes: Vec<u8>,
}

impl AttributeWriter {
    /// An attribute of raw bytes.
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.attribute(kind, |writer| writer.bytes.extend_from_slice(value));
    }

    /// An attribute of 16 bits.
    pub(crate) fn u16(&mut self, kind: u16, value: u16) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// An attribute of 32 bits.
    pub(crate) fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// An attribute of 64 bits.
    pub(crate) fn u64(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// An attribute of text, with a closing zero.
    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        self.attribute(kind, |writer| {
            writer.bytes.extend_from_slice(value.as_bytes());
            writer.bytes.push(0);
        });
    }

    /// An attribute that holds attributes.
    pub(crate) fn nest(&mut self, kind: u16, content: impl FnOnce(&mut Self)) {
        self.attribute(kind | NLA_F_NESTED, content);
    }

    /// Header, value, padding to four bytes. The length is known afterwards, and excludes the padding.
    fn attribute(&mut self, kind: u16, value: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; NLA_HEADER_SIZE]);
        value(self);
        let length = self.bytes.len() - start;
        // Whoever makes long lists splits them: see `CHUNK` in the encoding of elements.
        let length = u16::try_from(length).unwrap_or_else(|_| panic!("an attribute of {length} bytes does not fit"));
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes[start + 2..start + NLA_HEADER_SIZE].copy_from_slice(&kind.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// Reads attributes. What is absent or cut off reads as `None`.
#[derive(Clone, Copy)]
pub(crate) struct AttributeReader<'a>(pub(crate) &'a [u8]);

impl<'a> AttributeReader<'a> {
    /// All attributes with their kinds, in order, as far as they are well formed.
    pub(crate) fn iter(self) -> impl Iterator<Item = (u16, AttributeReader<'a>)> {
        NlasIterator::new(self.0).map_while(Result::ok).map(|attribute| {
            let value = attribute.into_inner();
            let length = usize::from(u16::from_ne_bytes([value[0], value[1]]));
            (u16::from_ne_bytes([value[2], value[3]]) & !NLA_F_NESTED, AttributeReader(&value[NLA_HEADER_SIZE..length]))
        })
    }

    /// The first attribute of a kind.
    pub(crate) fn get(self, kind: u16) -> Option<AttributeReader<'a>> {
        self.iter().find_map(|(found, value)| (found == kind).then_some(value))
    }

    /// The value as a number of 8 bits.
    pub(crate) fn u8(self, kind: u16) -> Option<u8> {
        self.get(kind)?.0.first().copied()
    }

    /// The value as a number of 16 bits.
    pub(crate) fn u16(self, kind: u16) -> Option<u16> {
        Some(u16::from_be_bytes(self.get(kind)?.0.try_into().ok()?))
    }

    /// The value as a number of 32 bits.
    pub(crate) fn u32(self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(kind)?.0.try_into().ok()?))
    }

    /// The value as a number of 64 bits.
    pub(crate) fn u64(self, kind: u16) -> Option<u64> {
        Some(u64::from_be_bytes(self.get(kind)?.0.try_into().ok()?))
    }

    /// The value as text, without its closing zero.
    pub(crate) fn text(self, kind: u16) -> Option<String> {
        let bytes = self.get(kind)?.0;
        Some(String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned())
    }
}
