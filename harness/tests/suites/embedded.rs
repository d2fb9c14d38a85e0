//! The suites in the executable.

use netpol_harness::plan::{Selection, describe, plan};
use netpol_harness::suite::{Source, load, load_some};

fn selection(patterns: &[&str]) -> Selection {
    let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
    Selection::parse(&patterns).unwrap()
}

#[test]
fn the_embedded_suites_are_valid_and_agree_with_the_oracle() {
    let loaded = load(&Source::Embedded).unwrap_or_else(|problems| panic!("{problems}"));
    insta::assert_snapshot!(describe(&plan(&loaded, &selection(&[]))));
}

#[test]
fn patterns_select_by_area_and_name() {
    let loaded = load(&Source::Embedded).unwrap();
    let ids = |patterns: &[&str]| -> Vec<String> {
        plan(&loaded, &selection(patterns)).cases.into_iter().map(|case| case.id).collect()
    };
    assert_eq!(ids(&["walkthrough/ping-*"]), ["walkthrough/ping-and-ports", "walkthrough/ping-from-server"]);
    assert_eq!(ids(&["walkthrough/additivity", "*/log-lines"]), ["walkthrough/additivity", "walkthrough/log-lines"]);
    // No glob: its range would be none.
    assert_eq!(ids(&["ports/end-port[range=begins-before]"]), ["ports/end-port[range=begins-before]"]);
    // A star stays within its part.
    assert_eq!(ids(&["*"]), Vec::<String>::new());
    assert_eq!(ids(&["**"]), ids(&[]));
    assert!(!ids(&["walkthrough/*"]).is_empty());
    assert!(plan(&loaded, &selection(&["none/*"])).topologies.is_empty());
}

/// What a run reads of the embedded suites makes no difference to what it carries out.
#[test]
fn suites_that_are_not_wanted_need_not_be_read() {
    let all = load(&Source::Embedded).unwrap();
    let one = all.cases.iter().find(|case| case.id.contains('[')).unwrap().id.as_str();
    for patterns in [&["walkthrough/ping-*", one] as &[&str], &["*/log-lines"], &[]] {
        let selection = selection(patterns);
        let some = load_some(&Source::Embedded, |name| selection.may_want(name)).unwrap();
        let ids = |loaded| plan(loaded, &selection).cases.into_iter().map(|case| case.id).collect::<Vec<_>>();
        assert_eq!(ids(&some), ids(&all), "{patterns:?}");
        assert!(patterns.is_empty() || some.cases.len() < all.cases.len(), "{patterns:?}");
    }
}

#[test]
fn what_is_no_glob_is_a_problem() {
    let problems = Selection::parse(&["a[".to_owned(), "walkthrough/*".to_owned(), "{b".to_owned()]).unwrap_err();
    insta::assert_snapshot!(problems, @r"
    PATTERN: 'a[' is not a glob: unclosed character class; missing ']'
      → write a glob on area/name, such as 'walkthrough/*'
    PATTERN: '{b' is not a glob: unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)
      → write a glob on area/name, such as 'walkthrough/*'
    2 problems; nothing was started
    ");
}
