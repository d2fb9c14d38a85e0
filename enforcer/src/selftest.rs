//! Tries at start what the ruleset needs of the kernel, so that a missing feature is an error and not a silent gap (P36).

use std::time::Duration;

use netpol_nft::{
    Chain, ChainType, Connection, CtState, DataType, Element, Field, Hook, Policy, Protocol, Rule, Ruleset, Set, Table,
    Verdict, priority,
};

use crate::health::Health;
use crate::status::Status;

/// A feature that the kernel lacks.
#[derive(Debug, thiserror::Error)]
#[error("the kernel lacks {feature} ({source}); {remedy}")]
pub struct MissingFeature {
    /// What it is.
    pub feature: &'static str,
    /// What to do about it.
    pub remedy: String,
    /// What the kernel answered.
    #[source]
    pub source: netpol_nft::Error,
}

/// How long until a kernel that lacks something is tried again: somebody may have loaded a module.
const AGAIN: Duration = Duration::from_secs(5);

/// Tries every feature of [`FEATURES`] on scratch tables, each made and deleted within one transaction, so that nothing is
/// left whether it passes or not. Returns all that are missing.
pub fn missing(connection: &mut Connection) -> Vec<MissingFeature> {
    let mut missing = Vec::new();
    for Feature { name, modules, fill } in FEATURES {
        let mut ruleset = Ruleset::new(Table::inet("netpol-selftest"));
        fill(&mut ruleset);
        let mut transaction = ruleset.load();
        transaction.delete_table();
        if let Err(source) = connection.apply(&transaction) {
            let remedy = match &source {
                netpol_nft::Error::Permission => "give the enforcer CAP_NET_ADMIN in the node's network".to_owned(),
                _ => format!("on the node run 'modprobe -a {modules}', or use a kernel that has it"),
            };
            missing.push(MissingFeature { feature: name, remedy, source });
        }
    }
    missing
}

/// Waits until nothing is missing. Until then the status says what is.
pub(crate) async fn passed(health: &Health<Status>) {
    let mut told = Vec::new();
    loop {
        let missing: Vec<String> = match Connection::open() {
            Ok(mut connection) => missing(&mut connection).iter().map(ToString::to_string).collect(),
            Err(error) => vec![error.to_string()],
        };
        health.update(|status| {
            status.self_tested = missing.is_empty();
            status.missing.clone_from(&missing);
        });
        if missing.is_empty() {
            return;
        }
        if missing != told {
            missing.iter().for_each(|what| tracing::error!("{what}"));
            told = missing;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Something that the ruleset needs of the kernel.
pub struct Feature {
    /// What it is, for people.
    pub name: &'static str,
    /// The modules that have it.
    pub modules: &'static str,
    fill: fn(&mut Ruleset),
}

/// All that the ruleset needs.
pub const FEATURES: [Feature; 10] = [
    Feature { name: "nftables with tables of the inet family", modules: "nf_tables", fill: |_| {} },
    Feature {
        name: "base chains on the hooks forward and input",
        modules: "nf_tables",
        fill: |ruleset| {
            for (name, hook) in [("forward", Hook::Forward), ("input", Hook::Input)] {
                let chain = Chain::base(name, ChainType::Filter, hook, priority::FILTER, Policy::Accept);
                ruleset.chain(chain, []);
            }
        },
    },
    Feature {
        name: "connection tracking (ct state)",
        modules: "nf_conntrack nft_ct",
        fill: |ruleset| {
            let established = Rule::new().ct_state(&[CtState::Established, CtState::Related]).accept();
            ruleset.chain(Chain::regular("conntrack"), [established]);
        },
    },
    Feature {
        name: "reverse path lookups (fib saddr . iif)",
        modules: "nft_fib nft_fib_inet",
        fill: |ruleset| {
            let base = Chain::base("paths", ChainType::Filter, Hook::Forward, priority::FILTER, Policy::Accept);
            ruleset.chain(base, [Rule::new().fib_saddr_iif_missing().drop()]);
        },
    },
    Feature {
        name: "verdict maps",
        modules: "nf_tables",
        fill: |ruleset| {
            ruleset.chain(Chain::regular("pod"), [Rule::new().drop()]);
            let element = Element::new(std::net::Ipv4Addr::LOCALHOST).verdict(Verdict::jump("pod"));
            ruleset.set(Set::verdict_map("pods", [DataType::Ipv4Addr]), [element]);
            ruleset.chain(Chain::regular("dispatch"), [Rule::new().ip_saddr_vmap("pods")]);
        },
    },
    Feature {
        name: "sets with intervals and concatenations (Linux 5.6)",
        modules: "nf_tables",
        fill: |ruleset| {
            let range = Element::new((Protocol::TCP, 80u16)).to((Protocol::TCP, 90u16));
            ruleset.set(Set::new("ports", [DataType::InetProto, DataType::InetService]).interval(), [range]);
            let whole = Element::from(ipnet::Ipv4Net::default());
            ruleset.set(Set::new("block", [DataType::Ipv4Addr]).interval(), [whole]);
            let rule = Rule::new().ip_saddr_in("block").l4proto_dport_in("ports").accept();
            ruleset.chain(Chain::regular("policy"), [rule]);
        },
    },
    Feature {
        name: "verdict maps by IPv6 address",
        modules: "nf_tables",
        fill: |ruleset| {
            ruleset.chain(Chain::regular("pod"), [Rule::new().drop()]);
            let element = Element::new(std::net::Ipv6Addr::LOCALHOST).verdict(Verdict::jump("pod"));
            ruleset.set(Set::verdict_map("pods", [DataType::Ipv6Addr]), [element]);
            ruleset.chain(Chain::regular("dispatch"), [Rule::new().ip6_saddr_vmap("pods")]);
        },
    },
    Feature {
        name: "sets of interface names",
        modules: "nf_tables",
        fill: |ruleset| {
            ruleset.set(Set::new("uplinks", [DataType::Ifname]), [Element::new("lo").comment("own")]);
            let rules = [Rule::new().iifname_in("uplinks").accept(), Rule::new().oifname_in("uplinks").accept()];
            ruleset.chain(Chain::regular("interfaces"), rules);
        },
    },
    Feature {
        name: "matches on ICMPv6 types",
        modules: "nf_tables",
        fill: |ruleset| {
            let rules = [Rule::new().icmpv6_type_range(130..=137).accept()];
            ruleset.chain(Chain::regular("discovery"), rules);
        },
    },
    Feature {
        name: "sets of address, protocol and port",
        modules: "nf_tables",
        fill: |ruleset| {
            let types = [DataType::Ipv4Addr, DataType::InetProto, DataType::InetService];
            let element = Element::new((std::net::Ipv4Addr::LOCALHOST, Protocol::SCTP, 80u16));
            ruleset.set(Set::new("named-ports", types), [element]);
            let rule = Rule::new().lookup(&[Field::IpDaddr, Field::L4proto, Field::Dport], "named-ports");
            ruleset.chain(Chain::regular("named"), [rule.accept()]);
        },
    },
];
