use super::*;

#[test]
fn the_lines_of_the_design_are_read_and_written_as_they_stand() {
    let lines = [
        r#"{"id":7,"probe":[{"n":"a1","proto":"tcp","to":"10.1.2.3","port":8888,"timeout_ms":250}]}"#,
        r#"{"id":8,"arrivals":["a1"]}"#,
        r#"{"id":9,"watch":{"probe":{"n":"a2","proto":"tcp","to":"10.1.2.3","port":8888,"timeout_ms":150},"tokens":64,"reply":true,"every_ms":5,"later_ms":50,"limit_ms":1000}}"#,
        r#"{"ack":7}"#,
    ];
    for line in lines {
        let read: ToAgent = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), line);
    }
    let answers = [
        r#"{"hello":{"wire":2,"uid":"u-1"}}"#,
        r#"{"id":7,"result":{"n":"a1","got":"reply","rtt_us":412,"src_seen":"10.1.1.2","late_us":90}}"#,
        r#"{"id":9,"watched":{"result":{"n":"a7","got":"timeout","late_us":90},"after_us":31000,"ago_us":150400}}"#,
        r#"{"id":8,"arrived":[{"n":"a1","proto":"icmp","src":"10.1.1.2","packets":2}]}"#,
    ];
    for line in answers {
        let read: FromAgent = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), line);
    }
}

#[test]
fn a_token_is_base_36_and_keeps_its_tuple_within_the_span() {
    assert_eq!("a1".parse::<Token>().unwrap(), Token(361));
    assert_eq!(Token(361).to_string(), "a1");
    assert_eq!(Token(0).to_string(), "0");
    assert_eq!(Token(0).tuple_id(), 10_000);
    assert_eq!(Token(19_999).tuple_id(), 29_999);
    assert_eq!(Token(20_000).tuple_id(), 10_000);
    assert!(Token::owns(29_999) && !Token::owns(30_000) && !Token::owns(9_999));
    assert_eq!("-1".parse::<Token>().unwrap_err().to_string().split(':').next(), Some("'-1' is not a token"));
}

#[test]
fn an_unknown_key_in_a_probe_is_refused() {
    let line = r#"{"id":1,"probe":[{"n":"a","proto":"tcp","to":"10.0.0.1","port":1,"timeout_ms":1,"retry":3}]}"#;
    assert!(serde_json::from_str::<ToAgent>(line).is_err());
}

#[test]
fn what_later_agents_say_and_are_asked_is_optional() {
    let probe =
        r#"{"id":7,"probe":[{"n":"a1","proto":"udp","to":"10.1.2.3","port":80,"bytes":10000,"timeout_ms":250}]}"#;
    let read: ToAgent = serde_json::from_str(probe).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), probe);
    let refused = r#"{"id":7,"result":{"n":"a1","got":"icmp","rtt_us":412,"refused_by":"10.1.2.3","late_us":90}}"#;
    let read: FromAgent = serde_json::from_str(refused).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), refused);
}
