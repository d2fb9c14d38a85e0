//! Tries at start what the ruleset needs of the kernel, so that a missing feature is an error and not a silent gap (P36).

use netpol_nft::{
    Chain, ChainType, Connection, CtState, DataType, Element, Hook, Policy, Protocol, Rule, Ruleset, Set, Table,
    Verdict, priority,
};

/// A feature that the kernel lacks.
#[derive(Debug, thiserror::Error)]
#[error("the kernel lacks {feature} ({source}); load {module} or use a kernel that has it")]
pub struct MissingFeature {
    /// What it is.
    pub feature: &'static str,
    /// The modules that usually have it.
    pub module: &'static str,
    /// What the kernel answered.
    #[source]
    pub source: netpol_nft::Error,
}

/// Tries every feature on a scratch table that is made and deleted within one transaction, so that nothing is left whether
/// it passes or not. Fails with the first feature that is missing.
pub fn run(connection: &mut Connection) -> Result<(), MissingFeature> {
    for (feature, module, fill) in FEATURES {
        let mut ruleset = Ruleset::new(Table::inet("netpol-selftest"));
        fill(&mut ruleset);
        let mut transaction = ruleset.load();
        transaction.delete_table();
        connection.apply(&transaction).map_err(|source| MissingFeature { feature, module, source })?;
    }
    Ok(())
}

type Feature = (&'static str, &'static str, fn(&mut Ruleset));

const FEATURES: [Feature; 6] = [
    ("nftables with tables of the inet family", "nf_tables", |_| {}),
    ("base chains on the hooks forward and input", "nf_tables", |ruleset| {
        for (name, hook) in [("forward", Hook::Forward), ("input", Hook::Input)] {
            let chain = Chain::base(name, ChainType::Filter, hook, priority::FILTER, Policy::Accept);
            ruleset.chain(chain, []);
        }
    }),
    ("connection tracking (ct state)", "nf_conntrack, nft_ct", |ruleset| {
        let established = Rule::new().ct_state(&[CtState::Established, CtState::Related]).accept();
        ruleset.chain(Chain::regular("conntrack"), [established]);
    }),
    ("reverse path lookups (fib saddr . iif)", "nft_fib, nft_fib_inet", |ruleset| {
        let base = Chain::base("paths", ChainType::Filter, Hook::Forward, priority::FILTER, Policy::Accept);
        ruleset.chain(base, [Rule::new().fib_saddr_iif_missing().drop()]);
    }),
    ("verdict maps", "nf_tables", |ruleset| {
        ruleset.chain(Chain::regular("pod"), [Rule::new().drop()]);
        let element = Element::new(std::net::Ipv4Addr::LOCALHOST).verdict(Verdict::goto("pod"));
        ruleset.set(Set::verdict_map("pods", [DataType::Ipv4Addr]), [element]);
        ruleset.chain(Chain::regular("dispatch"), [Rule::new().ip_saddr_vmap("pods")]);
    }),
    ("sets with intervals and concatenations", "nf_tables (Linux 5.6 or newer)", |ruleset| {
        let range = Element::new((Protocol::TCP, 80u16)).to((Protocol::TCP, 90u16));
        ruleset.set(Set::new("ports", [DataType::InetProto, DataType::InetService]).interval(), [range]);
        let whole = Element::from(ipnet::Ipv4Net::default());
        ruleset.set(Set::new("block", [DataType::Ipv4Addr]).interval(), [whole]);
        let rule = Rule::new().ip_saddr_in("block").l4proto_dport_in("ports").accept();
        ruleset.chain(Chain::regular("policy"), [rule]);
    }),
];
