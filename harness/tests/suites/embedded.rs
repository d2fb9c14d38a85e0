//! The suites in the executable.

use netpol_harness::plan::{describe, plan};
use netpol_harness::suite::{Source, load};

#[test]
fn the_embedded_suites_are_valid_and_agree_with_the_oracle() {
    let loaded = load(&Source::Embedded).unwrap_or_else(|problems| panic!("{problems}"));
    insta::assert_snapshot!(describe(&plan(&loaded, &[]).unwrap()));
}

#[test]
fn patterns_select_by_area_and_name() {
    let loaded = load(&Source::Embedded).unwrap();
    let ids = |patterns: &[&str]| -> Vec<String> {
        let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        plan(&loaded, &patterns).unwrap().cases.into_iter().map(|case| case.id).collect()
    };
    assert_eq!(ids(&["walkthrough/ping-*"]), ["walkthrough/ping-and-ports", "walkthrough/ping-from-server"]);
    assert_eq!(ids(&["walkthrough/additivity", "*/log-lines"]), ["walkthrough/additivity", "walkthrough/log-lines"]);
    // A star stays within its part.
    assert_eq!(ids(&["*"]), Vec::<String>::new());
    assert_eq!(ids(&["**"]), ids(&[]));
    assert!(!ids(&["walkthrough/*"]).is_empty());
    assert!(plan(&loaded, &["none/*".to_owned()]).unwrap().topologies.is_empty());
}

#[test]
fn what_is_no_glob_is_a_problem() {
    let loaded = load(&Source::Embedded).unwrap();
    let problems = plan(&loaded, &["a[".to_owned(), "walkthrough/*".to_owned(), "{b".to_owned()]).unwrap_err();
    insta::assert_snapshot!(problems, @r"
    PATTERN: 'a[' is not a glob: unclosed character class; missing ']'
      → write a glob on area/name, such as 'walkthrough/*'
    PATTERN: '{b' is not a glob: unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)
      → write a glob on area/name, such as 'walkthrough/*'
    2 problems; nothing was started
    ");
}
