//! What the kernel holds, read back as what was written, and news of changes.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod every_verb;
mod scratch;

use std::collections::BTreeSet;
use std::process::Command;

use netpol_nft::{Chain, Connection, Family, Monitor, Notification, Rule, Ruleset, Table, Transaction};
use rustix::event::{PollFd, PollFlags, poll};
use scratch::in_scratch_namespace;

#[test]
fn a_table_is_read_back_as_it_was_written() {
    in_scratch_namespace("a_table_is_read_back_as_it_was_written", || {
        let ruleset = every_verb::ruleset();
        let mut connection = Connection::open().unwrap();
        assert_eq!(connection.ruleset(&ruleset.table).unwrap(), None);
        connection.apply(&ruleset.load()).unwrap();
        let read = connection.ruleset(&ruleset.table).unwrap().unwrap();
        let written = ruleset.canonical();
        for (name, (chain, rules)) in &written.chains {
            let (read_chain, read_rules) = &read.chains[name];
            assert_eq!(read_chain, chain);
            assert_eq!(read_rules.len(), rules.len(), "{name}");
            for (rule, read) in rules.iter().zip(read_rules) {
                assert_eq!(read, rule, "{rule}");
            }
        }
        assert_eq!(read, written);
        // What was read can be written again.
        let mut transaction = Transaction::new(read.table.clone());
        transaction.destroy_table();
        connection.apply(&transaction).unwrap();
        connection.apply(&read.load()).unwrap();
        assert_eq!(connection.ruleset(&read.table).unwrap().unwrap(), written);
    });
}

#[test]
fn tables_of_one_family_are_read_back_likewise() {
    in_scratch_namespace("tables_of_one_family_are_read_back_likewise", || {
        let mut connection = Connection::open().unwrap();
        for family in [Family::Ip, Family::Ip6] {
            let mut ruleset = Ruleset::new(Table::new(family, "scratch"));
            let rule = match family {
                Family::Ip => Rule::new().ip_saddr(std::net::Ipv4Addr::LOCALHOST),
                _ => Rule::new().ip6_saddr(std::net::Ipv6Addr::LOCALHOST),
            };
            let reject = Rule::new().l4proto(netpol_nft::Protocol::UDP).reject(netpol_nft::Reject::PortUnreachable);
            ruleset.chain(Chain::regular("one"), [rule.accept(), reject]);
            connection.apply(&ruleset.load()).unwrap();
            assert_eq!(connection.ruleset(&ruleset.table).unwrap().unwrap(), ruleset.canonical());
        }
    });
}

#[test]
#[cfg_attr(not(nft_installed), ignore = "nft is not installed")]
fn each_kind_of_damage_shows() {
    in_scratch_namespace("each_kind_of_damage_shows", || {
        let ruleset = every_verb::ruleset();
        let written = ruleset.clone().canonical();
        let mut connection = Connection::open().unwrap();
        let damages: [&[&str]; 8] = [
            &["flush", "chain", "inet", "scratch", "pod-a"],
            &["add", "rule", "inet", "scratch", "pod-a", "accept"],
            &["insert", "rule", "inet", "scratch", "pod-b", "meta", "length", "<", "70", "accept"],
            &["add", "rule", "inet", "scratch", "pod-a", "limit", "rate", "10/second", "accept"],
            &["add", "element", "inet", "scratch", "services", "{ 81 }"],
            &["delete", "element", "inet", "scratch", "pods", "{ 10.0.0.1 }"],
            &["add", "chain", "inet", "scratch", "input", "{ policy drop; }"],
            &["add", "chain", "inet", "scratch", "other"],
        ];
        for damage in damages {
            let mut transaction = Transaction::new(ruleset.table.clone());
            transaction.destroy_table();
            connection.apply(&transaction).unwrap();
            connection.apply(&ruleset.load()).unwrap();
            assert_eq!(connection.ruleset(&ruleset.table).unwrap().unwrap(), written);
            let status = Command::new(env!("NFT")).args(damage).status().unwrap();
            assert!(status.success(), "{damage:?}");
            assert_ne!(connection.ruleset(&ruleset.table).unwrap().unwrap(), written, "{damage:?}");
        }
    });
}

#[test]
fn changes_are_told_with_their_tables_and_who_made_them() {
    in_scratch_namespace("changes_are_told_with_their_tables_and_who_made_them", || {
        let mut connection = Connection::open().unwrap();
        let mut other = Connection::open().unwrap();
        let mut monitor = Monitor::open().unwrap();
        assert_eq!(monitor.read().unwrap(), None);
        let table = Table::inet("scratch");
        let mut transaction = Transaction::new(table.clone());
        transaction.add_table();
        transaction.add_chain(Chain::regular("one"));
        connection.apply(&transaction).unwrap();
        let mut refused = Transaction::new(table.clone());
        refused.delete_chain("none");
        other.apply(&refused).unwrap_err();
        let mut transaction = Transaction::new(Table::new(Family::Ip6, "six"));
        transaction.add_table();
        other.apply(&transaction).unwrap();

        let mut ready = [PollFd::new(&monitor, PollFlags::IN)];
        assert_eq!(poll(&mut ready, None).unwrap(), 1);
        let generation = connection.generation().unwrap();
        let expected = [
            (generation - 1, connection.port().unwrap(), table),
            (generation, other.port().unwrap(), Table::new(Family::Ip6, "six")),
        ];
        for (number, by, table) in expected {
            let Some(Notification::Changed { generation, port, program, tables }) = monitor.read().unwrap() else {
                panic!("a change");
            };
            assert_eq!((generation, port, tables), (number, by, BTreeSet::from([table])));
            assert!(program.is_some());
        }
        assert_eq!(monitor.read().unwrap(), None);
    });
}

#[test]
fn lost_news_are_told() {
    in_scratch_namespace("lost_news_are_told", || {
        let mut connection = Connection::open().unwrap();
        let mut monitor = Monitor::open().unwrap();
        let mut transaction = Transaction::new(Table::inet("scratch"));
        transaction.add_table();
        transaction.add_chain(Chain::regular("one"));
        (0..2_000).for_each(|_| transaction.add_rule("one", Rule::new().counter().comment("x".repeat(100))));
        // Sooner or later the queue is full, whatever its size.
        let mut lost = false;
        for _ in 0..30 {
            connection.apply(&transaction).unwrap();
            let mut flush = Transaction::new(Table::inet("scratch"));
            flush.flush_chain("one");
            connection.apply(&flush).unwrap();
        }
        while let Some(news) = monitor.read().unwrap() {
            lost |= news == Notification::Lost;
        }
        assert!(lost);
        connection.apply(&transaction).unwrap();
        while let Some(news) = monitor.read().unwrap() {
            assert!(matches!(news, Notification::Changed { .. }));
        }
    });
}
