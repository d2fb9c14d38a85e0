//! A path that is watched until it opens or closes.

use std::time::{Duration, Instant};

use netlink_packet_route::route::RouteType;
use netpol_wire::{Answer, Call, Got, Proto, Token, Watch, Watched};

use crate::pods::{B, Network, Relay, agent, assert_got};
use crate::scratch::in_scratch;

/// Well beyond what the agent takes, and well below the time after which the path changes.
const CHANGE_AFTER: Duration = Duration::from_millis(400);

fn path(a: &mut Relay, reply: bool) -> Watch {
    let probe = netpol_wire::Probe { timeout_ms: 150, ..a.probe(Proto::Tcp, B, 8888) };
    Watch { probe, tokens: 1000, reply, every_ms: 5, later_ms: 20, limit_ms: 5000 }
}

/// Watches while `change` happens after a while; and how long after that the answer came.
fn watched_through(a: &mut Relay, path: Watch, change: impl FnOnce() + Send) -> (Watched, Duration) {
    std::thread::scope(|scope| {
        let changed = scope.spawn(|| {
            std::thread::sleep(CHANGE_AFTER);
            let at = Instant::now();
            change();
            at
        });
        let answer = a.answer(Call::Watch(path));
        let answered = Instant::now();
        let Answer::Watched(watched) = answer else { panic!("{answer:?}") };
        (watched, answered.saturating_duration_since(changed.join().unwrap()))
    })
}

#[test]
fn the_first_probe_that_ends_as_awaited_is_the_answer() {
    in_scratch("watches::the_first_probe_that_ends_as_awaited_is_the_answer", || {
        let network = Network::new();
        let _b = agent(&network.b, "server --port 8888");
        let _a = agent(&network.a, "server");
        let (mut a, _) = Relay::attach(&network.a);
        let (mut b, _) = Relay::attach(&network.b);

        network.router.route(B, 32, Err(RouteType::BlackHole));
        let closed = path(&mut a, true);
        let first = closed.probe.n;
        let (opened, waited) = watched_through(&mut a, closed, || network.router.route_on(B, "to-b"));
        assert_got(&opened.result, Got::Reply);
        assert!(opened.result.n > Token(first.0 + 10), "many were sent before: {opened:?}");
        assert!(opened.after_us >= 350_000 && opened.ago_us < 1_000_000, "{opened:?}");
        assert!(waited < Duration::from_secs(1), "{waited:?}");
        let arrived = b.arrivals(&[Token(opened.result.n.0 - 5), opened.result.n]);
        assert_eq!(
            arrived.iter().map(|arrival| arrival.n).collect::<Vec<_>>(),
            [opened.result.n],
            "a fresh tuple each"
        );

        let open =
            Watch { probe: netpol_wire::Probe { n: Token(2000), ..path(&mut a, false).probe }, ..path(&mut a, false) };
        let (closed, waited) = watched_through(&mut a, open, || network.router.route(B, 32, Err(RouteType::BlackHole)));
        assert_got(&closed.result, Got::Timeout);
        assert!(closed.ago_us >= 150_000, "its whole timeout: {closed:?}");
        assert!(waited >= Duration::from_millis(140) && waited < Duration::from_secs(1), "{waited:?}");
        assert_eq!(b.arrivals(&[closed.result.n]), [], "it was sent after the change");
        assert_eq!(b.arrivals(&[Token(closed.result.n.0 - 5)]).len(), 1, "before it, all arrived");
    });
}

#[test]
fn a_path_that_stays_as_it_is_ends_a_watch_with_its_last_probe() {
    in_scratch("watches::a_path_that_stays_as_it_is_ends_a_watch_with_its_last_probe", || {
        let network = Network::new();
        let _b = agent(&network.b, "server --port 8888");
        let _a = agent(&network.a, "server");
        let (mut a, _) = Relay::attach(&network.a);
        let start = Instant::now();
        let short = Watch { limit_ms: 200, ..path(&mut a, false) };
        let answer = a.answer(Call::Watch(short));
        assert!(matches!(&answer, Answer::Watched(watched) if watched.result.got == Got::Reply), "{answer:?}");
        assert!(start.elapsed() >= Duration::from_millis(180));

        let first = path(&mut a, false).probe.n.0 + 5000;
        let few = Watch {
            probe: netpol_wire::Probe { n: Token(first), ..path(&mut a, false).probe },
            tokens: 3,
            ..path(&mut a, false)
        };
        match a.answer(Call::Watch(few)) {
            Answer::Watched(watched) => assert_eq!(watched.result.n, Token(first + 2)),
            other => panic!("{other:?}"),
        }
        // What cannot be sent is neither open nor closed.
        for reply in [true, false] {
            let no_port = netpol_wire::Probe { port: None, ..path(&mut a, reply).probe };
            let watch = Watch { probe: no_port, tokens: 2, ..path(&mut a, reply) };
            let answer = a.answer(Call::Watch(watch));
            assert!(matches!(&answer, Answer::Watched(watched) if watched.result.got == Got::Error), "{answer:?}");
        }
        let none = Watch { tokens: 0, ..path(&mut a, true) };
        assert!(matches!(a.answer(Call::Watch(none)), Answer::Error(why) if why.contains("token")));
    });
}
