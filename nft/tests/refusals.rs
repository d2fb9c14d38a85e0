//! What a user is told whom the kernel does not let in, or whose transaction is too large.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod scratch;

use std::net::Ipv4Addr;

use netpol_nft::{Connection, DataType, Element, Error, Set, Table, Transaction};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use scratch::in_scratch_namespace;

#[test]
fn without_the_capability_the_remedy_is_told() {
    in_scratch_namespace("without_the_capability_the_remedy_is_told", || {
        let mut connection = Connection::open().unwrap();
        let mut sets = capabilities(None).unwrap();
        sets.effective.remove(CapabilitySet::NET_ADMIN);
        set_capabilities(None, sets).unwrap();
        let error = Connection::open().unwrap_err();
        assert!(matches!(error, Error::Permission), "{error:?}");
        assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
        // A connection that was opened before does not help, and says the same.
        let mut transaction = Transaction::new(Table::inet("scratch"));
        transaction.add_table();
        let error = connection.apply(&transaction).unwrap_err();
        assert!(matches!(error, Error::Permission), "{error:?}");
    });
}

#[test]
fn a_transaction_that_does_not_fit_is_not_sent() {
    in_scratch_namespace("a_transaction_that_does_not_fit_is_not_sent", || {
        let set = Set::new("many", [DataType::Ipv4Addr]);
        let mut transaction = Transaction::new(Table::inet("scratch"));
        transaction.add_table();
        transaction.add_set(set.clone());
        transaction.add_elements(&set, (0..500_000).map(|number| Element::new(Ipv4Addr::from_bits(number % 100))));
        let mut connection = Connection::open().unwrap();
        match connection.apply(&transaction) {
            // Where the buffer can be raised at will, it fits.
            Ok(()) => assert_eq!(connection.elements(&Table::inet("scratch"), &set).unwrap().len(), 100),
            Err(error @ Error::TooLarge { bytes, limit }) => {
                assert!(bytes > limit && error.to_string().contains("net.core.wmem_max"), "{error}");
                assert_eq!(connection.tables().unwrap(), []);
            }
            Err(error) => panic!("{error}"),
        }
    });
}
