//! Bugs in matching labels.

use k8s_openapi::api::networking::v1::NetworkPolicySpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::mutant::{Bug, Mutant};
use crate::reading::{each_selector, nobody};

pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        "empty-pod-selector-selects-nobody",
        "N10 P37",
        "A policy with an empty podSelector selects no pod",
        Bug::Reading(|spec| {
            if spec.pod_selector.as_ref().is_none_or(|selector| *selector == LabelSelector::default()) {
                spec.pod_selector = Some(nobody());
            }
        }),
    ),
    Mutant::new(
        "one-label-suffices",
        "N26",
        "Of several labels under matchLabels one has to match",
        Bug::Reading(|spec| {
            each_selector(spec, |selector| {
                selector.match_labels.iter_mut().filter(|labels| labels.len() > 1).for_each(|labels| {
                    labels.pop_last();
                });
            });
        }),
    ),
    Mutant::new(
        "in-takes-one-value",
        "N26",
        "Only the first value of In counts",
        Bug::Reading(|spec| {
            each_operator(spec, "In", |one| one.values.iter_mut().for_each(|values| values.truncate(1)));
        }),
    ),
    Mutant::new(
        "not-in-wants-the-key",
        "N26",
        "NotIn does not match objects without the label",
        Bug::Reading(|spec| each_selector(spec, not_in_wants_the_key)),
    ),
    Mutant::new(
        "does-not-exist-ignored",
        "N26",
        "DoesNotExist always holds",
        Bug::Reading(|spec| without_operator(spec, "DoesNotExist")),
    ),
];

fn each_operator(spec: &mut NetworkPolicySpec, operator: &str, bend: impl Fn(&mut LabelSelectorRequirement)) {
    each_selector(spec, |selector| {
        selector.match_expressions.iter_mut().flatten().filter(|one| one.operator == operator).for_each(&bend);
    });
}

fn without_operator(spec: &mut NetworkPolicySpec, operator: &str) {
    each_selector(spec, |selector| {
        selector.match_expressions.iter_mut().for_each(|all| all.retain(|one| one.operator != operator));
    });
}

fn not_in_wants_the_key(selector: &mut LabelSelector) {
    if let Some(all) = &mut selector.match_expressions {
        let keys: Vec<String> = all.iter().filter(|one| one.operator == "NotIn").map(|one| one.key.clone()).collect();
        all.extend(keys.into_iter().map(|key| LabelSelectorRequirement {
            key,
            operator: "Exists".to_owned(),
            values: None,
        }));
    }
}
