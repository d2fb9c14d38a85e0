//! Which interfaces count as uplinks, in a namespace with real links and routes.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use netpol_enforcer::uplinks;

use crate::node;

#[test]
fn pods_are_no_uplinks_and_new_routes_are_noticed() {
    crate::scratch::in_scratch_namespace("uplinks::pods_are_no_uplinks_and_new_routes_are_noticed", || {
        node::node();
        let _pod = node::pod("pod", Ipv4Addr::new(10, 1, 0, 2));
        node::within(async |links| {
            let mut known = uplinks::follow().await.expect("the node's routes");
            assert_eq!(known.borrow_and_update().uplinks, BTreeSet::from(["lo".to_owned()]));
            // On a thread of its own: it has a runtime of its own.
            let made = std::thread::spawn(|| node::outside(Ipv4Addr::new(10, 2, 0, 2)));
            let _world = made.join().expect("an uplink");
            let both = BTreeSet::from(["eth0".to_owned(), "lo".to_owned()]);
            // Notified, not found when everything is read anew after ten seconds.
            let noticed =
                tokio::time::timeout(Duration::from_secs(5), known.wait_for(|links| links.uplinks == both)).await;
            assert!(noticed.expect("in time").is_ok());
            let pod = node::up(&links, "pod").await;
            node::route(&links, pod, Ipv4Addr::new(10, 9, 0, 0), 24, None).await;
            let noticed =
                tokio::time::timeout(Duration::from_secs(5), known.wait_for(|links| links.uplinks.contains("pod")));
            assert!(noticed.await.expect("in time").is_ok(), "an interface that carries a network is an uplink");
        });
    });
}
