//! Bad days of the API server: whatever becomes of watches and lists, nothing opens or is cut, and in the end the rules are what
//! the objects say (P28, P29).

use std::time::Duration;

use netpol_lab::api::misbehaviour::Behaviour;

use crate::cluster::Cluster;
use crate::scratch::in_scratch_namespace;
use crate::traffic::Traffic;

/// Policies change under the behaviour, and the traffic goes on.
fn survive(what: &str, cluster: &Cluster, traffic: &Traffic, behaviour: Behaviour) {
    cluster.misbehaviour.set(behaviour);
    for turn in 0..24 {
        cluster.churn(turn);
        traffic.more(10);
    }
    cluster.misbehaviour.set(Behaviour::default());
    cluster.settles(what);
    assert_eq!(traffic.wrong(), Vec::<String>::new(), "{what}");
}

#[test]
fn watches_that_are_cut_gone_late_repeated_and_out_of_order() {
    in_scratch_namespace("disturbances::watches_that_are_cut_gone_late_repeated_and_out_of_order", || {
        let cluster = Cluster::new();
        let _enforcer = cluster.ready_enforcer();
        let traffic = cluster.traffic();
        let well = Behaviour::default;
        survive("nothing", &cluster, &traffic, well());
        survive("watches that are cut", &cluster, &traffic, Behaviour { cut_after_events: Some(2), ..well() });
        survive("410", &cluster, &traffic, Behaviour { gone: true, ..well() });
        survive("503", &cluster, &traffic, Behaviour { refuse_with: Some(503), ..well() });
        survive("late answers", &cluster, &traffic, Behaviour { delay_ms: 50, ..well() });
        survive("repeated events", &cluster, &traffic, Behaviour { repeat_events: 2, ..well() });
        let stale = Behaviour { stale_lists: true, cut_after_events: Some(3), ..well() };
        survive("lists of old", &cluster, &traffic, stale);
        let reordered = Behaviour { reorder_events: 8, repeat_events: 1, ..well() };
        // Events of one object in reverse say what is not so: the next list sets it right.
        cluster.misbehaviour.set(reordered);
        (0..24).for_each(|turn| cluster.churn(turn));
        traffic.more(100);
        survive("events in reverse, then lists", &cluster, &traffic, Behaviour { gone: true, ..well() });
        cluster.misbehaviour.cut_watches();
        cluster.misbehaviour.down_for(Duration::from_millis(700));
        survive("an API server that was away", &cluster, &traffic, well());
        traffic.stop();
    });
}
