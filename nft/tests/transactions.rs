//! Transactions against the kernel: all or nothing, errors that name the operation, changes of what is there.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod scratch;

use std::net::Ipv4Addr;

use netpol_nft::{
    Chain, ChainType, Connection, DataType, Element, Errno, Error, Hook, InvalidObject, Policy, Protocol, Rule, Set,
    Table, Transaction, Verdict, priority,
};
use scratch::in_scratch_namespace;

fn table() -> Table {
    Table::inet("scratch")
}

fn pods() -> Set {
    Set::verdict_map("pods", [DataType::Ipv4Addr])
}

fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 + number)
}

/// A table with a base chain, two regular chains and a verdict map with one element.
fn populate(connection: &mut Connection) {
    let mut transaction = Transaction::new(table());
    transaction.add_table();
    transaction.add_set(pods());
    transaction.add_chain(Chain::base("forward", ChainType::Filter, Hook::Forward, priority::FILTER, Policy::Accept));
    transaction.add_chain(Chain::regular("one"));
    transaction.add_chain(Chain::regular("two"));
    transaction.add_elements(&pods(), [Element::new(address(1)).verdict(Verdict::jump("one"))]);
    transaction.add_rule("forward", Rule::new().ip_saddr_vmap("pods").comment("dispatch"));
    connection.apply(&transaction).unwrap();
}

#[test]
fn a_failing_operation_undoes_all_and_is_named() {
    in_scratch_namespace("a_failing_operation_undoes_all_and_is_named", || {
        let mut connection = Connection::open().unwrap();
        populate(&mut connection);
        let mut transaction = Transaction::new(table());
        transaction.add_chain(Chain::regular("three"));
        transaction.flush_chain("forward");
        transaction.add_rule("one", Rule::new().l4proto(Protocol::TCP).dport(80).jump("nowhere"));
        transaction.add_rule("two", Rule::new().accept());

        let error = connection.apply(&transaction).unwrap_err();
        let Error::Rejected { failures } = &error else { panic!("unexpected: {error}") };
        assert_eq!(failures.len(), 1, "{error}");
        assert_eq!(failures[0].operation.as_deref(), Some("add rule inet scratch one tcp dport 80 jump nowhere"));
        assert_eq!(failures[0].errno, Errno::NOENT);
        assert!(error.to_string().contains("nothing was changed"), "{error}");

        let names: Vec<_> = connection.chains(&table()).unwrap().into_iter().map(|chain| chain.name).collect();
        assert_eq!(names, ["forward", "one", "two"]);
        let rules = connection.rules(&table()).unwrap();
        assert_eq!(rules.len(), 1);
        assert_eq!((rules[0].chain.as_str(), rules[0].comment.as_deref()), ("forward", Some("dispatch")));
    });
}

#[test]
fn each_refused_operation_is_told() {
    in_scratch_namespace("each_refused_operation_is_told", || {
        let mut connection = Connection::open().unwrap();
        populate(&mut connection);
        let mut transaction = Transaction::new(table());
        transaction.delete_set("absent");
        transaction.add_chain(Chain::regular("three"));
        transaction.delete_rule("one", 4711);
        let Err(Error::Rejected { failures }) = connection.apply(&transaction) else { panic!("not rejected") };
        let operations: Vec<_> = failures.iter().filter_map(|failure| failure.operation.as_deref()).collect();
        assert_eq!(operations, ["delete set inet scratch absent", "delete rule inet scratch one handle 4711"]);
        // The connection is still good.
        connection.apply(&Transaction::new(table())).unwrap();
        assert_eq!(connection.tables().unwrap(), [table()]);
    });
}

#[test]
fn an_element_is_given_another_verdict() {
    in_scratch_namespace("an_element_is_given_another_verdict", || {
        let mut connection = Connection::open().unwrap();
        populate(&mut connection);
        let one = Element::new(address(1)).verdict(Verdict::jump("one"));
        let two = Element::new(address(1)).verdict(Verdict::jump("two"));

        let mut addition = Transaction::new(table());
        addition.add_elements(&pods(), [one.clone()]);
        connection.apply(&addition).unwrap();
        let mut addition = Transaction::new(table());
        addition.add_elements(&pods(), [two.clone()]);
        let Err(Error::Rejected { failures }) = connection.apply(&addition) else { panic!("not rejected") };
        assert!([Errno::EXIST, Errno::BUSY].contains(&failures[0].errno), "{failures:?}");

        let mut replacement = Transaction::new(table());
        replacement.delete_elements(&pods(), [one]);
        replacement.add_elements(&pods(), [two.clone()]);
        connection.apply(&replacement).unwrap();
        assert_eq!(connection.elements(&table(), &pods()).unwrap(), [two]);
    });
}

#[test]
fn an_interval_is_given_another_verdict() {
    in_scratch_namespace("an_interval_is_given_another_verdict", || {
        let mut connection = Connection::open().unwrap();
        let blocks = Set::verdict_map("blocks", [DataType::Ipv4Addr]).interval();
        let element = |to: u32, verdict| Element::new(address(0)).to(address(to)).verdict(verdict);
        let mut transaction = Transaction::new(table());
        transaction.add_table();
        transaction.add_set(blocks.clone());
        transaction.add_elements(&blocks, [element(255, Verdict::Drop)]);
        connection.apply(&transaction).unwrap();
        for (from, to) in [(255, 255), (255, 127), (127, 4095)] {
            let before = connection.elements(&table(), &blocks).unwrap();
            assert_eq!(before[0].end, Some(address(from).into()));
            let mut replacement = Transaction::new(table());
            replacement.delete_elements(&blocks, before);
            replacement.add_elements(&blocks, [element(to, Verdict::Accept)]);
            connection.apply(&replacement).unwrap();
            assert_eq!(connection.elements(&table(), &blocks).unwrap(), [element(to, Verdict::Accept)]);
        }
    });
}

#[test]
fn chains_are_rewritten_and_what_nothing_refers_to_goes_in_one_transaction() {
    in_scratch_namespace("chains_are_rewritten_and_what_nothing_refers_to_goes_in_one_transaction", || {
        let mut connection = Connection::open().unwrap();
        populate(&mut connection);
        let peers = Set::new("peers", [DataType::Ipv4Addr]).interval();
        let mut transaction = Transaction::new(table());
        transaction.add_set(peers.clone());
        transaction.replace_rules("one", [Rule::new().ip_saddr_in("peers").accept(), Rule::new().drop()]);
        transaction.replace_rules("two", [Rule::new().accept()]);
        connection.apply(&transaction).unwrap();

        let mut transaction = Transaction::new(table());
        transaction.delete_elements(&pods(), [Element::new(address(1))]);
        transaction.delete_chain("one");
        transaction.delete_set("peers");
        transaction.replace_rules("two", [Rule::new().drop().comment("new")]);
        connection.apply(&transaction).unwrap();

        let names: Vec<_> = connection.chains(&table()).unwrap().into_iter().map(|chain| chain.name).collect();
        assert_eq!(names, ["forward", "two"]);
        assert_eq!(connection.sets(&table()).unwrap(), [pods()]);
        let comments: Vec<_> =
            connection.rules(&table()).unwrap().into_iter().filter_map(|rule| rule.comment).collect();
        assert_eq!(comments, ["dispatch", "new"]);

        // What is still referred to stays, and the error says so.
        let mut transaction = Transaction::new(table());
        transaction.delete_set("pods");
        let Err(Error::Rejected { failures }) = connection.apply(&transaction) else { panic!("not rejected") };
        assert_eq!(failures[0].errno, Errno::BUSY);
    });
}

#[test]
fn rules_are_inserted_replaced_and_deleted_by_handle() {
    in_scratch_namespace("rules_are_inserted_replaced_and_deleted_by_handle", || {
        let mut connection = Connection::open().unwrap();
        populate(&mut connection);
        let comments = |connection: &mut Connection| -> Vec<String> {
            let rules = connection.rules(&table()).unwrap();
            rules.into_iter().filter(|rule| rule.chain == "one").filter_map(|rule| rule.comment).collect()
        };
        let mut transaction = Transaction::new(table());
        transaction.add_rule("one", Rule::new().accept().comment("b"));
        transaction.insert_rule("one", Rule::new().counter().comment("a"));
        connection.apply(&transaction).unwrap();
        assert_eq!(comments(&mut connection), ["a", "b"]);
        let handles: Vec<u64> = connection
            .rules(&table())
            .unwrap()
            .iter()
            .filter(|rule| rule.chain == "one")
            .map(|rule| rule.handle)
            .collect();
        let mut transaction = Transaction::new(table());
        transaction.replace_rule("one", handles[0], Rule::new().drop().comment("c"));
        transaction.delete_rule("one", handles[1]);
        connection.apply(&transaction).unwrap();
        assert_eq!(comments(&mut connection), ["c"]);
        let mut transaction = Transaction::new(table());
        transaction.flush_table();
        connection.apply(&transaction).unwrap();
        assert_eq!(connection.rules(&table()).unwrap(), []);
    });
}

#[test]
fn tables_are_added_and_destroyed_whatever_was_there() {
    in_scratch_namespace("tables_are_added_and_destroyed_whatever_was_there", || {
        let mut connection = Connection::open().unwrap();
        let mut destruction = Transaction::new(table());
        destruction.destroy_table();
        connection.apply(&destruction).unwrap();
        populate(&mut connection);
        populate(&mut connection); // again: all of it is idempotent, but for the rule
        assert_eq!(connection.rules(&table()).unwrap().len(), 2);
        connection.apply(&destruction).unwrap();
        assert_eq!(connection.tables().unwrap(), []);
        let mut deletion = Transaction::new(table());
        deletion.delete_table();
        let Err(Error::Rejected { failures }) = connection.apply(&deletion) else { panic!("not rejected") };
        assert_eq!(failures[0].errno, Errno::NOENT);
        let error = connection.elements(&table(), &pods()).unwrap_err();
        assert!(matches!(error, Error::List { errno: Errno::NOENT }), "{error}");
    });
}

#[test]
fn twenty_thousand_elements_are_loaded_at_once() {
    in_scratch_namespace("twenty_thousand_elements_are_loaded_at_once", || {
        let mut connection = Connection::open().unwrap();
        let set = Set::new("many", [DataType::Ipv4Addr, DataType::InetProto, DataType::InetService]).interval();
        let element = |number: u32| {
            let key = |port: u16| (address(number * 2), Protocol::TCP, port);
            Element::new(key(80)).to(key(90))
        };
        let load = |elements: &[Element]| {
            let mut transaction = Transaction::new(table());
            transaction.destroy_table();
            transaction.add_table();
            transaction.add_set(set.clone());
            transaction.add_elements(&set, elements.iter().cloned());
            transaction
        };
        let mut elements: Vec<Element> = (0..20_000).map(element).collect();
        if let Err(error) = connection.apply(&load(&elements)) {
            // In a user namespace net.core.wmem_max is the limit. What it has room for must go, and takes several messages still.
            let Error::TooLarge { bytes, limit } = error else { panic!("{error}") };
            elements.truncate(elements.len() * limit / bytes * 9 / 10);
            assert!(elements.len() > 2_000, "net.core.wmem_max is very low: a transaction may have only {limit} bytes");
            connection.apply(&load(&elements)).unwrap();
        }
        assert_eq!(connection.elements(&table(), &set).unwrap(), elements);

        // A single failing element among them undoes all.
        let mut transaction = Transaction::new(table());
        transaction.delete_elements(&set, elements.iter().cloned());
        transaction.delete_elements(&set, [Element::new((address(1), Protocol::TCP, 80))]);
        let error = connection.apply(&transaction).unwrap_err();
        assert!(matches!(&error, Error::Rejected { failures } if failures.len() == 1), "{error}");
        assert_eq!(connection.elements(&table(), &set).unwrap().len(), elements.len());
    });
}

#[test]
fn a_thousand_refusals_do_not_hide_that_nothing_was_done() {
    in_scratch_namespace("a_thousand_refusals_do_not_hide_that_nothing_was_done", || {
        let mut connection = Connection::open().unwrap();
        populate(&mut connection);
        let mut transaction = Transaction::new(table());
        (0..2_000).for_each(|handle| transaction.delete_rule("one", handle + 1_000));
        let error = connection.apply(&transaction).unwrap_err();
        assert!(matches!(&error, Error::Rejected { failures } if failures.len() > 100), "{error}");
        assert_eq!(connection.rules(&table()).unwrap().len(), 1);
    });
}

#[test]
fn what_cannot_be_said_is_refused_before_it_is_sent() {
    in_scratch_namespace("what_cannot_be_said_is_refused_before_it_is_sent", || {
        let mut connection = Connection::open().unwrap();
        let plain = Set::new("plain", [DataType::Ipv4Addr]);
        type Expectation = fn(&InvalidObject) -> bool;
        let wrong: [(Element, Expectation); 4] = [
            (Element::new(80), |invalid| matches!(invalid, InvalidObject::Type { .. })),
            (Element::new(address(1)).to(address(2)), |invalid| matches!(invalid, InvalidObject::Interval { .. })),
            (Element::new(address(1)).verdict(Verdict::Drop), |invalid| matches!(invalid, InvalidObject::Value { .. })),
            (Element::new(address(1)).comment("x".repeat(129)), |invalid| {
                matches!(invalid, InvalidObject::Comment { .. })
            }),
        ];
        for (element, expected) in wrong {
            let mut transaction = Transaction::new(table());
            transaction.add_table();
            transaction.add_elements(&plain, [element.clone()]);
            match connection.apply(&transaction) {
                Err(Error::Invalid { operation, source }) => {
                    assert!(expected(&source), "{source}");
                    assert_eq!(operation, format!("add element inet scratch plain {{ {element} }}"));
                }
                other => panic!("{element}: {other:?}"),
            }
        }
        let mut transaction = Transaction::new(table());
        transaction.add_table();
        transaction.add_chain(Chain::regular("one"));
        transaction.add_rule("one", Rule::new().iifname("a-name-that-is-too-long"));
        assert!(matches!(
            connection.apply(&transaction),
            Err(Error::Invalid { source: InvalidObject::Ifname { .. }, .. })
        ));
        assert_eq!(connection.tables().unwrap(), []);
    });
}
