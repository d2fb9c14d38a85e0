//! What the kernel holds after our transactions, as the `nft` program sees it, and our text of it, as `nft` reads it.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod every_verb;
mod scratch;

use std::io::Write;
use std::process::{Command, Stdio};

use netpol_nft::{Chain, Connection, DataType, Element, Family, MapsTo, Protocol, Reject, Rule, Ruleset, Set, Table};
use scratch::in_scratch_namespace;

/// Runs nft; what it prints.
fn nft(arguments: &[&str], input: &str) -> String {
    let mut child =
        Command::new(env!("NFT")).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "nft {arguments:?} failed on:\n{input}");
    String::from_utf8(output.stdout).unwrap()
}

/// The ruleset as JSON, without what differs between two that are the same.
fn listing() -> serde_json::Value {
    fn strip(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(fields) => {
                ["handle", "metainfo", "packets", "bytes"].iter().for_each(|key| drop(fields.remove(*key)));
                fields.values_mut().for_each(strip);
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut ruleset = serde_json::from_str(&nft(&["-j", "list", "ruleset"], "")).unwrap();
    strip(&mut ruleset);
    ruleset
}

/// Text without its line breaks and indentation: nft breaks lists of elements as it likes.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
#[cfg_attr(not(nft_installed), ignore = "nft is not installed")]
fn nft_lists_what_we_print() {
    in_scratch_namespace("nft_lists_what_we_print", || {
        let ruleset = every_verb::ruleset();
        Connection::open().unwrap().apply(&ruleset.load()).unwrap();
        // nft lists chains in the order of their making, as we do by name; so compare line by line, to see the first that differs.
        let listed = nft(&["--stateless", "list", "ruleset"], "");
        for (chain, (_, rules)) in &ruleset.chains {
            let listed = nft(&["--stateless", "list", "chain", "inet", "scratch", chain], "");
            let lines: Vec<&str> = listed.lines().map(str::trim).collect();
            for rule in rules {
                assert!(lines.contains(&rule.to_string().as_str()), "'{rule}' is not among\n{listed}");
            }
        }
        assert_eq!(words(&listed), words(&ruleset.to_string()));
    });
}

#[test]
#[cfg_attr(not(nft_installed), ignore = "nft is not installed")]
fn nft_reads_what_we_print() {
    in_scratch_namespace("nft_reads_what_we_print", || {
        let ruleset = every_verb::ruleset();
        let mut connection = Connection::open().unwrap();
        connection.apply(&ruleset.load()).unwrap();
        let ours = listing();
        for text in [ruleset.to_string(), ruleset.load().to_string()] {
            nft(&["flush", "ruleset"], "");
            nft(&["-f", "-"], &text);
            let theirs = listing();
            let pairs = ours["nftables"].as_array().unwrap().iter().zip(theirs["nftables"].as_array().unwrap());
            pairs.for_each(|(ours, theirs)| assert_eq!(ours, theirs));
            assert_eq!(ours, theirs);
        }
    });
}

#[test]
fn what_we_list_is_what_we_loaded() {
    in_scratch_namespace("what_we_list_is_what_we_loaded", || {
        let ruleset = every_verb::ruleset();
        let mut connection = Connection::open().unwrap();
        connection.apply(&ruleset.load()).unwrap();
        let table = &ruleset.table;
        assert_eq!(connection.tables().unwrap(), std::slice::from_ref(table));
        let chains = connection.chains(table).unwrap();
        assert_eq!(chains, ruleset.chains.values().map(|(chain, _)| chain.clone()).collect::<Vec<Chain>>());
        let sets = connection.sets(table).unwrap();
        assert_eq!(sets, ruleset.sets.values().map(|(set, _)| set.clone()).collect::<Vec<Set>>());
        for (set, elements) in ruleset.sets.values() {
            let mut elements = elements.clone();
            elements.sort();
            let mut listed = connection.elements(table, set).unwrap();
            listed.sort();
            assert_eq!(listed, elements, "{}", set.name);
        }
        let rules: usize = ruleset.chains.values().map(|(_, rules)| rules.len()).sum();
        assert_eq!(connection.rules(table).unwrap().len(), rules);
    });
}

#[test]
#[cfg_attr(not(nft_installed), ignore = "nft is not installed")]
fn tables_of_one_family_are_listed_likewise() {
    in_scratch_namespace("tables_of_one_family_are_listed_likewise", || {
        let mut text = String::new();
        let mut connection = Connection::open().unwrap();
        let address = |family| if family == Family::Ip { "192.0.2.1" } else { "2001:db8::1" };
        for (family, data_type) in [(Family::Ip, DataType::Ipv4Addr), (Family::Ip6, DataType::Ipv6Addr)] {
            let mut ruleset = Ruleset::new(Table::new(family, "scratch"));
            let address: std::net::IpAddr = address(family).parse().unwrap();
            ruleset.set(Set::new("peers", [data_type]).interval(), [Element::new(address)]);
            ruleset.chain(
                every_verb::nat_chain("prerouting"),
                [
                    Rule::new().l4proto(Protocol::UDP).dport(53).dnat(address, Some(5353)),
                    match family {
                        Family::Ip => Rule::new().ip_saddr_in("peers").accept(),
                        _ => Rule::new().ip6_saddr_in("peers").accept(),
                    },
                ],
            );
            ruleset.chain(
                Chain::regular("refusals"),
                [
                    Rule::new().l4proto(Protocol::UDP).reject(Reject::PortUnreachable),
                    Rule::new().l4proto(Protocol::SCTP).reject(Reject::AdminProhibited),
                    Rule::new().l4proto(Protocol::TCP).reject(Reject::TcpReset),
                ],
            );
            connection.apply(&ruleset.load()).unwrap();
            text.push_str(&ruleset.to_string());
        }
        assert_eq!(words(&nft(&["--stateless", "list", "ruleset"], "")), words(&text));
    });
}

#[test]
fn every_kind_of_map_is_in_the_ruleset_of_these_tests() {
    let ruleset = every_verb::ruleset();
    assert!(ruleset.sets.values().any(|(set, _)| matches!(set.maps_to, MapsTo::Data(_))));
    assert!(ruleset.sets.values().any(|(set, _)| matches!(set.maps_to, MapsTo::Verdict)));
    let types: std::collections::BTreeSet<_> = ruleset.sets.values().flat_map(|(set, _)| set.key.clone()).collect();
    assert!(DataType::ALL.iter().all(|data_type| types.contains(data_type)), "{types:?}");
}
