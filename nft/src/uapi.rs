//! The numbers of linux/netfilter/nfnetlink.h and nf_tables.h that we use, under their names there.

/// Of a dump: the ruleset changed while it was read. From linux/netlink.h.
pub(crate) const NLM_F_DUMP_INTR: u16 = 0x10;

/// The multicast group of nf_tables.
pub(crate) const NFNLGRP_NFTABLES: u32 = 7;

pub(crate) const NFNL_SUBSYS_CTNETLINK: u16 = 1;
pub(crate) const NFNL_SUBSYS_NFTABLES: u16 = 10;
pub(crate) const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
pub(crate) const NFNL_MSG_BATCH_END: u16 = 0x11;

/// Messages of nf_tables.
pub(crate) mod msg {
    pub(crate) const NEWTABLE: u16 = 0;
    pub(crate) const GETTABLE: u16 = 1;
    pub(crate) const DELTABLE: u16 = 2;
    pub(crate) const NEWCHAIN: u16 = 3;
    pub(crate) const GETCHAIN: u16 = 4;
    pub(crate) const DELCHAIN: u16 = 5;
    pub(crate) const NEWRULE: u16 = 6;
    pub(crate) const GETRULE: u16 = 7;
    pub(crate) const DELRULE: u16 = 8;
    pub(crate) const NEWSET: u16 = 9;
    pub(crate) const GETSET: u16 = 10;
    pub(crate) const DELSET: u16 = 11;
    pub(crate) const NEWSETELEM: u16 = 12;
    pub(crate) const GETSETELEM: u16 = 13;
    pub(crate) const DELSETELEM: u16 = 14;
    pub(crate) const NEWGEN: u16 = 15;
    pub(crate) const GETGEN: u16 = 16;
}

/// Attributes of the ruleset's generation.
pub(crate) mod generation {
    pub(crate) const ID: u16 = 1;
    pub(crate) const PROC_NAME: u16 = 3;
}

pub(crate) mod table {
    pub(crate) const NAME: u16 = 1;
}

pub(crate) mod chain {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const NAME: u16 = 3;
    pub(crate) const HOOK: u16 = 4;
    pub(crate) const POLICY: u16 = 5;
    pub(crate) const TYPE: u16 = 7;
    pub(crate) const USERDATA: u16 = 12;
    pub(crate) const HOOK_HOOKNUM: u16 = 1;
    pub(crate) const HOOK_PRIORITY: u16 = 2;
}

pub(crate) mod rule {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const CHAIN: u16 = 2;
    pub(crate) const HANDLE: u16 = 3;
    pub(crate) const EXPRESSIONS: u16 = 4;
    pub(crate) const USERDATA: u16 = 7;
}

pub(crate) mod set {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const NAME: u16 = 2;
    pub(crate) const FLAGS: u16 = 3;
    pub(crate) const KEY_TYPE: u16 = 4;
    pub(crate) const KEY_LEN: u16 = 5;
    pub(crate) const DATA_TYPE: u16 = 6;
    pub(crate) const DATA_LEN: u16 = 7;
    pub(crate) const DESC: u16 = 9;
    pub(crate) const ID: u16 = 10;
    pub(crate) const USERDATA: u16 = 13;
    pub(crate) const DESC_SIZE: u16 = 1;
    pub(crate) const DESC_CONCAT: u16 = 2;
    pub(crate) const FIELD_LEN: u16 = 1;
    /// NFT_DATA_VERDICT.
    pub(crate) const VERDICT: u32 = 0xffff_ff00;
    pub(crate) const F_ANONYMOUS: u32 = 0x1;
    pub(crate) const F_CONSTANT: u32 = 0x2;
    pub(crate) const F_INTERVAL: u32 = 0x4;
    pub(crate) const F_MAP: u32 = 0x8;
    pub(crate) const F_TIMEOUT: u32 = 0x10;
    pub(crate) const F_EVAL: u32 = 0x20;
    pub(crate) const F_CONCAT: u32 = 0x80;
}

pub(crate) mod element {
    pub(crate) const LIST_TABLE: u16 = 1;
    pub(crate) const LIST_SET: u16 = 2;
    pub(crate) const LIST_ELEMENTS: u16 = 3;
    pub(crate) const LIST_SET_ID: u16 = 4;
    pub(crate) const KEY: u16 = 1;
    pub(crate) const DATA: u16 = 2;
    pub(crate) const FLAGS: u16 = 3;
    pub(crate) const USERDATA: u16 = 6;
    pub(crate) const KEY_END: u16 = 10;
    pub(crate) const F_INTERVAL_END: u32 = 1;
}

/// The keys of what connection tracking knows: NFT_CT_….
pub(crate) mod ct {
    pub(crate) const STATE: u32 = 0;
    pub(crate) const DIRECTION: u32 = 1;
    pub(crate) const STATUS: u32 = 2;
    pub(crate) const MARK: u32 = 3;
    pub(crate) const PROTO_DST: u32 = 12;
    pub(crate) const SRC_IP: u32 = 19;
    pub(crate) const DST_IP: u32 = 20;
    pub(crate) const SRC_IP6: u32 = 21;
    pub(crate) const DST_IP6: u32 = 22;
}

pub(crate) mod data {
    /// NFTA_LIST_ELEM: an item of any list.
    pub(crate) const LIST_ELEM: u16 = 1;
    pub(crate) const VALUE: u16 = 1;
    pub(crate) const VERDICT: u16 = 2;
    pub(crate) const VERDICT_CODE: u16 = 1;
    pub(crate) const VERDICT_CHAIN: u16 = 2;
}

/// The types of user data, as libnftnl lays them out: a byte of type, a byte of length, the value.
pub(crate) mod udata {
    /// Of tables, chains, rules and elements.
    pub(crate) const COMMENT: u8 = 0;
    /// Of sets: the byte order of keys that are numbers, and of data that are. A number of 32 bits in host order.
    pub(crate) const SET_KEY_BYTE_ORDER: u8 = 0;
    pub(crate) const SET_DATA_BYTE_ORDER: u8 = 1;
    pub(crate) const HOST_ORDER: u32 = 1;
    /// Of sets.
    pub(crate) const SET_COMMENT: u8 = 7;
}

/// Messages and attributes of connection tracking, from linux/netfilter/nfnetlink_conntrack.h.
pub(crate) mod conntrack {
    pub(crate) const GET: u16 = 1;
    pub(crate) const DELETE: u16 = 2;
    pub(crate) const TUPLE_ORIG: u16 = 1;
    pub(crate) const TUPLE_REPLY: u16 = 2;
    pub(crate) const STATUS: u16 = 3;
    pub(crate) const MARK: u16 = 8;
    pub(crate) const ID: u16 = 12;
    pub(crate) const ZONE: u16 = 18;
    pub(crate) const MARK_MASK: u16 = 21;
    pub(crate) const FILTER: u16 = 25;
    pub(crate) const TUPLE_IP: u16 = 1;
    pub(crate) const TUPLE_PROTO: u16 = 2;
    pub(crate) const IP_V4_SRC: u16 = 1;
    pub(crate) const IP_V4_DST: u16 = 2;
    pub(crate) const IP_V6_SRC: u16 = 3;
    pub(crate) const IP_V6_DST: u16 = 4;
    pub(crate) const PROTO_NUM: u16 = 1;
    pub(crate) const PROTO_SRC_PORT: u16 = 2;
    pub(crate) const PROTO_DST_PORT: u16 = 3;
    /// Identifier; type and code have the numbers behind it.
    pub(crate) const PROTO_ICMP_ID: u16 = 4;
    pub(crate) const PROTO_ICMPV6_ID: u16 = 7;
    pub(crate) const FILTER_ORIG_FLAGS: u16 = 1;
    pub(crate) const FILTER_REPLY_FLAGS: u16 = 2;
    /// Which fields of a tuple a filter compares; not in any public header.
    pub(crate) const FILTER_IP_SRC: u32 = 1;
    pub(crate) const FILTER_IP_DST: u32 = 2;
}
