//! Somebody else writes into our table: it is noticed, set right and counted.

use netpol_enforcer::compile::{AddressFamily, TABLE, dispatch_map};
use netpol_enforcer::world::Direction;
use netpol_nft::{Connection, DataType, Element, Rule, Set, Table, Transaction};

use crate::cluster::Cluster;
use crate::health::eventually;
use crate::scratch::in_scratch_namespace;

fn repairs(cluster: &Cluster) -> u64 {
    cluster.status()["repairs"].as_u64().expect("a number")
}

#[test]
fn a_damaged_table_is_set_right_and_counted() {
    in_scratch_namespace("damage::a_damaged_table_is_set_right_and_counted", || {
        let cluster = Cluster::new();
        let _enforcer = cluster.ready_enforcer();
        cluster.settles("its start");
        let mut other = Connection::open().expect("nftables");
        let table = Table::inet(TABLE);
        let held = other.ruleset(&table).expect("read").expect("a table");
        let map = dispatch_map(Direction::Ingress, AddressFamily::V4);
        let of_server = held.sets[&map.name].1[0].clone();
        let (peers, _) = held.sets.values().find(|(set, _)| set.name.starts_with("pods/")).expect("a set of pods");
        type Damage<'a> = (&'a str, Box<dyn Fn(&mut Transaction) + 'a>);
        let damages: [Damage<'_>; 7] = [
            ("a rule in front that accepts all", Box::new(|t| t.insert_rule("ingress", Rule::new().accept()))),
            ("a chain without rules", Box::new(|t| t.flush_chain("ingress"))),
            ("a pod that is not dispatched", Box::new(|t| t.delete_elements(&map, [of_server.clone()]))),
            ("a peer more", {
                let enemy = std::net::IpAddr::from([10, 2, 0, 2]);
                Box::new(move |t| t.add_elements(peers, [Element::new(enemy)]))
            }),
            ("a set that is not ours", Box::new(|t| t.add_set(Set::new("theirs", [DataType::Ipv4Addr])))),
            ("no rule at all", Box::new(|t| t.flush_table())),
            ("no table", Box::new(|t| t.destroy_table())),
        ];
        for (index, (what, damage)) in damages.iter().enumerate() {
            let mut transaction = Transaction::new(table.clone());
            damage(&mut transaction);
            other.apply(&transaction).expect("somebody may");
            cluster.settles(what);
            eventually(&format!("{what} is counted"), || repairs(&cluster) == index as u64 + 1);
        }
        // What others do to their own tables is theirs, and what we do to ours is no damage.
        let mut theirs = Transaction::new(Table::inet("theirs"));
        theirs.add_table();
        other.apply(&theirs).expect("written");
        for turn in 0..20 {
            cluster.churn(turn);
        }
        cluster.settles("changes of our own");
        assert_eq!(repairs(&cluster), damages.len() as u64);
    });
}
