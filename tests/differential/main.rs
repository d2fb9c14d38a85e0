//! The enforcer against the oracle, packet by packet, in random worlds.
//!
//! Each case is a world, and often what becomes of it in a few changes. The enforcer's rules for one node are written into the
//! kernel of a scratch namespace by the enforcer's own code; packets are put in at the node's interfaces, and what comes out is
//! compared with what the oracle says. The first difference is made as small as it gets and printed.
//!
//! ```text
//! NETPOL_DIFFERENTIAL_WORLDS=100000   that many worlds, each change of one counted as another; 0 for no end
//! NETPOL_DIFFERENTIAL_SEED=17         begin with this case; with WORLDS=1, just this one
//! ```

mod case;
mod change;
mod enforcer;
mod exchange;
mod flows;
mod generate;
mod node;
mod packet;
mod place;
mod policies;
mod sabotage;
mod scratch;
mod shrink;
mod world;

use std::env;
use std::time::Instant;

use case::Stand;
use exchange::{Exchange, let_connections_end_soon};
use sabotage::Sabotage;
use scratch::in_scratch_namespace;

/// How many worlds there are if nobody says.
const WORLDS: u64 = 2_000;
/// Within how many cases each sabotage has to be found.
const SOON: u64 = 400;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

fn stand() -> Stand {
    let stand = Stand::new(Exchange::new(node::node()), None);
    // Connection tracking is there once a rule asks for it.
    let_connections_end_soon();
    stand
}

#[test]
fn the_kernel_and_the_oracle_agree() {
    in_scratch_namespace("the_kernel_and_the_oracle_agree", || {
        let first = number("NETPOL_DIFFERENTIAL_SEED").unwrap_or(1);
        let wanted = number("NETPOL_DIFFERENTIAL_WORLDS").unwrap_or(WORLDS);
        let mut stand = stand();
        let (start, mut worlds, mut packets, mut seed) = (Instant::now(), 0, 0, first);
        while wanted == 0 || worlds < wanted {
            match stand.case(seed) {
                Ok((walked, tried)) => (worlds, packets) = (worlds + walked, packets + tried),
                Err(difference) => {
                    let smallest = shrink::smallest(&mut stand, difference);
                    panic!(
                        "case {seed} goes wrong\n{smallest}\n\
                            NETPOL_DIFFERENTIAL_SEED={seed} NETPOL_DIFFERENTIAL_WORLDS=1 cargo test --test differential agree"
                    );
                }
            }
            seed += 1;
            if (seed - first).is_multiple_of(1_000) {
                println!("{} cases, {worlds} worlds, {packets} packets, {:?}", seed - first, start.elapsed());
            }
        }
    });
}

#[test]
fn every_sabotage_is_found() {
    in_scratch_namespace("every_sabotage_is_found", || {
        let mut stand = stand();
        let mut missed = Vec::new();
        for sabotage in Sabotage::ALL {
            stand = stand.sabotaged(*sabotage);
            match (1..=SOON).find(|seed| stand.case(*seed).is_err()) {
                Some(cases) => println!("{sabotage:?} is found in case {cases}"),
                None => missed.push(*sabotage),
            }
        }
        assert!(missed.is_empty(), "{SOON} cases do not find {missed:?}");
    });
}

/// What is printed of a difference has nothing in it that is not needed for it.
#[test]
fn a_difference_is_made_small() {
    in_scratch_namespace("a_difference_is_made_small", || {
        let mut stand = stand().sabotaged(Sabotage::ExceptIgnored);
        let difference = (1..=SOON).find_map(|seed| stand.case(seed).err()).unwrap();
        let smallest = shrink::smallest(&mut stand, difference);
        let world = smallest.steps.last().unwrap();
        println!("{smallest}");
        assert_eq!((smallest.steps.len(), world.policies.len()), (1, 1), "one world with one policy");
        assert!(world.pods.len() <= 2, "the packet's ends");
        assert!(world.namespaces.is_empty() && world.pods.iter().all(|pod| pod.metadata.labels.is_none()));
        assert_eq!(serde_json::to_string(world).unwrap().matches("except").count(), 1, "one hole");
    });
}
