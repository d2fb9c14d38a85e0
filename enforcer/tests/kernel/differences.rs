//! Whatever way leads to a world, the kernel holds the same table as after loading it at once.

use crate::manifests::{site, world};
use netpol_enforcer::apply::Kernel;
use netpol_enforcer::compile::{Site, TABLE, compile};
use netpol_enforcer::diff::diff;
use netpol_enforcer::world::World;
use netpol_nft::{Connection, Table};

/// Worlds of many kinds, whose parts are taken in and out at random.
const WORLDS: [&str; 7] = [
    include_str!("worlds/walkthrough.yaml"),
    include_str!("worlds/peers.yaml"),
    include_str!("worlds/ports.yaml"),
    include_str!("worlds/types.yaml"),
    include_str!("worlds/refused.yaml"),
    include_str!("worlds/pods.yaml"),
    include_str!("worlds/dual-stack.yaml"),
];

/// A small generator of our own (xorshift), so that a run can be repeated from its seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A part of one of the worlds; labels of some pods are changed, so that they move between sets.
fn draw(chance: &mut Chance) -> (World, Site) {
    let mut drawn = world(WORLDS[chance.below(WORLDS.len() as u64) as usize]);
    drawn.namespaces.retain(|_, _| chance.below(8) > 0);
    drawn.pods.retain(|_, _| chance.below(4) > 0);
    drawn.policies.retain(|_, _| chance.below(3) > 0);
    let labels: Vec<_> = drawn.pods.values().map(|pod| pod.labels.clone()).collect();
    for pod in drawn.pods.values_mut() {
        if chance.below(4) == 0 {
            pod.labels = labels[chance.below(labels.len() as u64) as usize].clone();
        }
    }
    let mut site = site(if chance.below(4) == 0 { "node-2" } else { "node-1" });
    if chance.below(4) == 0 {
        site.uplinks.insert("eth1".to_owned());
    }
    (drawn, site)
}

/// Everything that the kernel holds of our table, without handles. Rules are compared by nft's listing where it is
/// installed, and by their number otherwise.
fn dump(connection: &mut Connection) -> Vec<String> {
    let table = Table::inet(TABLE);
    let mut lines = Vec::new();
    let mut sets = connection.sets(&table).expect("the sets");
    sets.sort();
    for set in sets {
        let mut elements = connection.elements(&table, &set).expect("the elements");
        elements.sort();
        lines.push(format!("{set:?}"));
        lines.extend(elements.iter().map(|element| format!("{} {element}", set.name)));
    }
    let mut chains = connection.chains(&table).expect("the chains");
    chains.sort();
    let rules = connection.rules(&table).expect("the rules");
    for chain in chains {
        let count = rules.iter().filter(|rule| rule.chain == chain.name).count();
        lines.push(format!("{chain:?}: {count} rules"));
    }
    if let Ok(listing) = std::process::Command::new("nft").args(["list", "table", "inet", TABLE]).output() {
        assert!(listing.status.success(), "{}", String::from_utf8_lossy(&listing.stderr));
        let mut rules = blocks(&String::from_utf8_lossy(&listing.stdout));
        rules.sort();
        lines.extend(rules);
    }
    lines
}

/// The chains of a listing, each as one text; their order in the kernel is that of their making.
fn blocks(listing: &str) -> Vec<String> {
    listing
        .split("\n\n")
        .flat_map(|part| part.split("\n\t}"))
        .filter(|part| part.contains("chain "))
        .map(|part| part.trim_matches(|c: char| c.is_whitespace() || c == '}').replace("table inet netpol {\n", ""))
        .collect()
}

#[test]
fn every_way_leads_to_the_same_table() {
    crate::scratch::in_scratch_namespace("differences::every_way_leads_to_the_same_table", || {
        let mut chance = Chance(0x5eed_cafe);
        let mut kernel = Kernel::open().expect("nftables");
        let mut connection = Connection::open().expect("nftables");
        for step in 0..150 {
            let (world, site) = draw(&mut chance);
            let ruleset = compile(&world, &site);
            let applied = kernel.apply(ruleset.clone()).expect("applied");
            assert_eq!(applied.replaced, step == 0, "step {step}: later ones are differences");
            let by_difference = dump(&mut connection);
            let mut all_at_once = netpol_nft::Transaction::new(Table::inet(TABLE));
            all_at_once.destroy_table();
            connection.apply(&all_at_once).expect("destroyed");
            Kernel::open().expect("nftables").apply(ruleset).expect("loaded");
            assert_eq!(by_difference, dump(&mut connection), "step {step}");
        }
    });
}

#[test]
fn nothing_to_do_is_nothing_done() {
    let full = compile(&world(WORLDS[0]), &site("node-1"));
    assert!(diff(&full, &full).expect("the same types").is_empty());
}

#[test]
fn one_pod_more_is_a_few_elements() {
    let with = world(WORLDS[1]);
    let mut without = with.clone();
    let bare = netpol_enforcer::world::ObjectKey::new("b", "bare");
    without.pods.remove(&bare);
    let delta = diff(&compile(&without, &site("node-1")), &compile(&with, &site("node-1"))).expect("led over");
    insta::assert_snapshot!(delta.transaction(&Table::inet(TABLE)));
}

#[test]
fn a_table_that_somebody_damaged_is_replaced() {
    crate::scratch::in_scratch_namespace("differences::a_table_that_somebody_damaged_is_replaced", || {
        let mut kernel = Kernel::open().expect("nftables");
        let mut connection = Connection::open().expect("nftables");
        kernel.apply(compile(&world(WORLDS[0]), &site("node-1"))).expect("applied");
        let mut damage = netpol_nft::Transaction::new(Table::inet(TABLE));
        damage.destroy_table();
        connection.apply(&damage).expect("destroyed");
        let applied = kernel.apply(compile(&world(WORLDS[1]), &site("node-1"))).expect("repaired");
        assert!(applied.replaced);
        assert!(kernel.has_table(TABLE).expect("listed"));
    });
}
