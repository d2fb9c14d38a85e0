//! Held connections.

use std::time::Duration;

use netlink_packet_route::route::RouteType;
use netpol_wire::{Answer, Call, HeldState, Hold, Token};

use crate::pods::{A, B, Network, Relay, agent, eventually};
use crate::scratch::in_scratch;

fn hold(relay: &mut Relay, port: u16) -> Hold {
    Hold { n: relay.token(), to: B.into(), port, interval_ms: 20, timeout_ms: 1000 }
}

#[test]
fn a_held_connection_counts_its_heartbeats_until_it_is_released() {
    in_scratch("held::a_held_connection_counts_its_heartbeats_until_it_is_released", || {
        let network = Network::new();
        let _b = agent(&network.b, "server --port 8888");
        let _a = agent(&network.a, "server");
        let (mut a, _) = Relay::attach(&network.a);
        let hold = hold(&mut a, 8888);
        let n = hold.n;
        assert_eq!(a.held(Call::Hold(hold.clone())).state, HeldState::Open);
        assert!(matches!(a.answer(Call::Hold(hold)), Answer::Error(text) if text.contains("held already")));
        std::thread::sleep(Duration::from_millis(500));
        let held = a.held(Call::Held(vec![n]));
        assert_eq!(held.state, HeldState::Open);
        assert!((15..=30).contains(&held.sent), "every 20 ms: {held:?}");
        assert!(held.sent - held.echoed <= 2, "{held:?}");
        assert!((10_000..200_000).contains(&held.longest_gap_us), "{held:?}");

        // Cut, it stays open and falls silent; healed, it goes on and has lost nothing.
        network.router.route(A, 32, Err(RouteType::BlackHole));
        std::thread::sleep(Duration::from_millis(600));
        let cut = a.held(Call::Held(vec![n]));
        assert_eq!(cut.state, HeldState::Open);
        assert!(cut.silent_us > 500_000 && cut.longest_gap_us >= cut.silent_us, "{cut:?}");
        assert!(cut.sent >= cut.echoed + 20, "{cut:?}");
        network.router.route_on(A, "to-a");
        eventually("the heartbeats come back", || {
            let held = a.held(Call::Held(vec![n]));
            held.echoed > cut.sent && held.silent_us < 200_000 && held.longest_gap_us >= cut.longest_gap_us
        });

        assert_eq!(a.held(Call::Release(vec![n])).state, HeldState::Open, "as it stood until then");
        assert_eq!(a.held(Call::Held(vec![n])).state, HeldState::Closed);
        let after = a.held(Call::Held(vec![n]));
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(a.held(Call::Held(vec![n])), after, "its numbers stand still");
        assert_eq!(a.held(Call::Held(vec![Token(77)])).state, HeldState::Unknown);
    });
}

#[test]
fn a_held_connection_tells_refusal_and_reset() {
    in_scratch("held::a_held_connection_tells_refusal_and_reset", || {
        let network = Network::new();
        let b = agent(&network.b, "server --port 8888");
        let _a = agent(&network.a, "server");
        let (mut a, _) = Relay::attach(&network.a);
        let (_ready, _) = Relay::attach(&network.b);
        let refused = hold(&mut a, 9);
        assert_eq!(a.held(Call::Hold(refused)).state, HeldState::Refused);
        let hold = hold(&mut a, 8888);
        let n = hold.n;
        assert_eq!(a.held(Call::Hold(hold)).state, HeldState::Open);
        eventually("heartbeats", || a.held(Call::Held(vec![n])).echoed > 2);
        // The server's end: a FIN, or a reset where heartbeats were unread.
        drop(b);
        eventually("the end is seen", || {
            matches!(a.held(Call::Held(vec![n])).state, HeldState::Closed | HeldState::Reset)
        });
        let numbers = a.held(Call::Held(vec![n]));
        assert!(numbers.echoed > 2, "{numbers:?}");
    });
}
