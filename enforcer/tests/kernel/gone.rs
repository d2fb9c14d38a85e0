//! Pods that are gone take their connections along: the next owner of an address begins anew (P16).

use std::net::Ipv4Addr;

use netpol_nft::conntrack::{Conntrack, Filter};

use crate::cluster::{Cluster, from_app};
use crate::health::eventually;
use crate::probes::{alive, connect, listen};
use crate::scratch::in_scratch_namespace;

const PORT: u16 = 8888;

/// The same where the pods went while no enforcer ran: the next one finds in the table who there was.
#[test]
fn what_went_while_no_enforcer_ran_is_forgotten_at_the_next_start() {
    in_scratch_namespace("gone::what_went_while_no_enforcer_ran_is_forgotten_at_the_next_start", || {
        let cluster = Cluster::new();
        let enforcer = cluster.ready_enforcer();
        cluster.set_policy("enemy-too", from_app("server", "enemy"));
        cluster.settles("its start");
        let listener = listen(&cluster.server, PORT);
        let [mut of_friend, mut of_enemy] = [&cluster.friend, &cluster.enemy].map(|peer| {
            let client = connect(peer, &cluster.server, PORT).expect("allowed");
            (client, listener.accept().expect("accepted").0)
        });
        enforcer.kill();
        // Another pod of the same name: only its UID tells.
        cluster.delete_pod("friend");
        cluster.add_pod("friend", "stranger", "node-1", Ipv4Addr::new(10, 1, 0, 3));
        assert!(alive(&mut of_friend.0, &mut of_friend.1), "nobody looks");
        let enforcer = cluster.ready_enforcer();
        let mut conntrack = Conntrack::open().expect("ctnetlink");
        let mut known = |address: [u8; 4]| conntrack.list(&Filter::address(address.into())).expect("listed").len();
        eventually("its connections are forgotten", || known([10, 1, 0, 3]) == 0);
        assert!(!alive(&mut of_friend.0, &mut of_friend.1), "its next owner is judged anew, and denied");
        assert!(alive(&mut of_enemy.0, &mut of_enemy.1), "those of a pod that is still there go on");

        // One on another node, of which the peers' sets know.
        enforcer.kill();
        cluster.delete_pod("enemy");
        let enforcer = cluster.ready_enforcer();
        eventually("a pod elsewhere", || known([10, 2, 0, 2]) == 0);

        // Nothing is forgotten of pods that are still there.
        let listener = listen(&cluster.friend, PORT + 1);
        let mut client = connect(&cluster.server, &cluster.friend, PORT + 1).expect("nobody isolates it");
        let mut server = listener.accept().expect("accepted").0;
        enforcer.kill();
        let _enforcer = cluster.ready_enforcer();
        cluster.settles("a start after which nothing has changed");
        assert!(alive(&mut client, &mut server));
        assert!(cluster.status()["transactions"] == 0, "{}", cluster.status());
    });
}

#[test]
fn the_next_owner_of_an_address_inherits_no_connection() {
    in_scratch_namespace("gone::the_next_owner_of_an_address_inherits_no_connection", || {
        let cluster = Cluster::new();
        let _enforcer = cluster.ready_enforcer();
        cluster.set_policy("enemy-too", from_app("server", "enemy"));
        cluster.settles("its start");
        let listener = listen(&cluster.server, PORT);
        let [mut of_friend, mut of_enemy] = [&cluster.friend, &cluster.enemy].map(|peer| {
            let client = connect(peer, &cluster.server, PORT).expect("allowed");
            (client, listener.accept().expect("accepted").0)
        });
        assert!(alive(&mut of_friend.0, &mut of_friend.1) && alive(&mut of_enemy.0, &mut of_enemy.1));

        // The pod is replaced by another one, which no policy lets in. (Its namespace is the same: only the address counts.)
        cluster.delete_pod("friend");
        cluster.add_pod("stranger", "stranger", "node-1", Ipv4Addr::new(10, 1, 0, 3));
        cluster.settles("the pod was replaced");
        let mut conntrack = Conntrack::open().expect("ctnetlink");
        let mut known = |address: [u8; 4]| conntrack.list(&Filter::address(address.into())).expect("listed").len();
        eventually("its connections are forgotten", || known([10, 1, 0, 3]) == 0);
        assert!(known([10, 2, 0, 2]) > 0, "others are kept");
        assert!(!alive(&mut of_friend.0, &mut of_friend.1), "the connection is judged anew, and denied");
        assert!(alive(&mut of_enemy.0, &mut of_enemy.1), "that of another pod goes on");

        // A pod that completes is gone as well; one that is on its way is not (P17).
        cluster.delete_pod("enemy");
        eventually("a pod elsewhere", || known([10, 2, 0, 2]) == 0);
    });
}
