//! Calls, acknowledgements and reconnects.

use std::time::Duration;

use netpol_wire::{Answer, Call, FromAgent, Got, Proto, VERSION};

use crate::pods::{B, Network, Relay, agent, eventually};
use crate::scratch::in_scratch;

#[test]
fn a_reconnect_loses_nothing_and_repeats_nothing() {
    in_scratch("calls::a_reconnect_loses_nothing_and_repeats_nothing", || {
        let network = Network::new();
        let _b = agent(&network.b, "server --port 8888");
        let _a = agent(&network.a, "server");
        let (mut first, hello) = Relay::attach(&network.a);
        assert_eq!(hello.wire, VERSION);
        let (mut b, other) = Relay::attach(&network.b);
        assert_ne!(hello.uid, other.uid);
        // Asked for on one connection, which is gone before the answer.
        let probe = first.probe(Proto::Tcp, B, 8888);
        let call = Call::Probe(vec![probe.clone()]);
        let id = first.call(call.clone());
        assert!(first.close().success(), "the relay ends with its input");
        eventually("the probe arrives", || !b.arrivals(&[probe.n]).is_empty());

        let (second, again) = Relay::attach(&network.a);
        assert_eq!(again.uid, hello.uid, "the same agent");
        let mut second = second.continuing(&first);
        match second.hear() {
            FromAgent::Answer { id: of, answer: Answer::Result(result) } => {
                assert_eq!((of, result.n, result.got), (id, probe.n, Got::Reply));
            }
            other => panic!("{other:?}"),
        }
        // A client repeats what it has no answer to: the call is known.
        second.say(&serde_json::to_string(&netpol_wire::ToAgent::Call { id, call }).unwrap());
        assert!(second.is_silent_for(Duration::from_millis(300)), "carried out again, or answered again");
        assert_eq!(b.arrivals(&[probe.n])[0].packets, 1, "sent once");
        // A third relay beside it gets the same; after the acknowledgement none does.
        let (mut third, _) = Relay::attach(&network.a);
        assert!(matches!(third.hear(), FromAgent::Answer { id: of, .. } if of == id));
        second.acknowledge(id);
        let held = second.answer(Call::Held(vec![]));
        assert_eq!(held, Answer::Held(vec![]));
        assert!(matches!(third.hear(), FromAgent::Answer { answer: Answer::Held(_), .. }), "answers go to all relays");
        let (mut fourth, _) = Relay::attach(&network.a);
        match fourth.hear() {
            FromAgent::Answer { id: of, .. } => assert_ne!(of, id, "acknowledged"),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_line_that_is_no_call_is_answered_with_the_reason() {
    in_scratch("calls::a_line_that_is_no_call_is_answered_with_the_reason", || {
        let network = Network::new();
        let _a = agent(&network.a, "server");
        let (mut a, _) = Relay::attach(&network.a);
        for (line, of, words) in [
            (r#"{"id":5,"probe":[{"n":"a","proto":"tcp","to":"10.0.0.1","timeout_ms":1,"retry":3}]}"#, 5, "retry"),
            (r#"{"id":6,"arrivals":["-1"]}"#, 6, "not a token"),
            (r#"{"id":7,"frobnicate":[]}"#, 7, "frobnicate"),
            ("hello?", 0, "no call"),
        ] {
            a.say(line);
            match a.hear() {
                FromAgent::Answer { id, answer: Answer::Error(text) } => {
                    assert_eq!(id, of, "{text}");
                    assert!(text.contains(words), "{line}: {text}");
                }
                other => panic!("{line}: {other:?}"),
            }
        }
    });
}
