//! What the enforcer says where the kernel lacks something that it needs (P36).

use netpol_enforcer::selftest::{FEATURES, missing};
use netpol_nft::{Chain, ChainType, Connection, Hook, Policy, Table, Transaction};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::scratch::in_scratch_namespace;

/// As many base chains as the kernel allows on one hook of a network namespace (MAX_HOOK_COUNT).
const FULL: i32 = 1024;

#[test]
fn each_feature_that_is_not_to_be_had_is_named_with_a_remedy() {
    in_scratch_namespace("selftest::each_feature_that_is_not_to_be_had_is_named_with_a_remedy", || {
        let mut connection = Connection::open().expect("nftables");
        assert_eq!(names(&mut connection), Vec::<&str>::new());
        assert_eq!(connection.tables().expect("tables"), [], "nothing is left");

        // A hook that has no room for another chain is one that the kernel has not got.
        let crowd = Table::inet("crowd");
        let mut transaction = Transaction::new(crowd.clone());
        transaction.add_table();
        for number in 0..FULL {
            let name = format!("chain-{number}");
            transaction.add_chain(Chain::base(name, ChainType::Filter, Hook::Forward, number, Policy::Accept));
        }
        connection.apply(&transaction).expect("so many chains and no more");
        let found = missing(&mut connection);
        assert!(found.iter().all(|feature| feature.to_string().contains("modprobe")), "{found:?}");
        assert_eq!(
            names(&mut connection),
            ["base chains on the hooks forward and input", "reverse path lookups (fib saddr . iif)"],
        );
        assert_eq!(connection.tables().expect("tables"), std::slice::from_ref(&crowd), "nothing is left");

        let mut transaction = Transaction::new(crowd);
        transaction.delete_table();
        connection.apply(&transaction).expect("deleted");
        assert_eq!(names(&mut connection), Vec::<&str>::new());

        let mut sets = capabilities(None).expect("capabilities");
        sets.effective.remove(CapabilitySet::NET_ADMIN);
        set_capabilities(None, sets).expect("fewer capabilities");
        let found = missing(&mut connection);
        assert_eq!(found.len(), FEATURES.len());
        assert!(found.iter().all(|feature| feature.remedy.contains("CAP_NET_ADMIN")), "{found:?}");
    });
}

fn names(connection: &mut Connection) -> Vec<&'static str> {
    missing(connection).iter().map(|missing| missing.feature).collect()
}
