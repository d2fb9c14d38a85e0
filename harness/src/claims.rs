//! What a CNI's entry says of its engine, held against the plan and against what was measured.

use crate::Problems;
use crate::plan::Plan;
use crate::report::{CaseReport, Status};
use crate::target::Target;
use crate::target::kind::cni_entry::{self, CniEntry};

/// An engine's claims; none where the target has no entry.
pub(crate) struct Claims(Option<CniEntry>);

impl Claims {
    /// Of a target's entry.
    ///
    /// # Errors
    /// Everything that is wrong in the entry.
    pub(crate) fn of(target: &Target) -> Result<Self, Problems> {
        Ok(Claims(match target {
            Target::Kind(cni) => Some(cni_entry::load(cni)?.cni),
            Target::Lab | Target::Kubeconfig { .. } => None,
        }))
    }

    /// Takes cases out of the plan whose features the engine does not claim; a sentence for each.
    pub(crate) fn take_out(&self, plan: &mut Plan) -> Vec<String> {
        let Claims(Some(entry)) = self else { return Vec::new() };
        let mut said = Vec::new();
        plan.cases.retain(|case| {
            let lacking: Vec<_> = case.features.intersection(&entry.lacks).map(String::as_str).collect();
            if !lacking.is_empty() {
                said.push(format!(
                    "not run: {}: {} does not claim {}",
                    case.id,
                    entry.metadata.name,
                    lacking.join(", ")
                ));
            }
            lacking.is_empty()
        });
        said
    }

    /// A declared deviation is no failure; one that did not occur is.
    pub(crate) fn hold(&self, cases: &mut [CaseReport]) {
        let Claims(Some(entry)) = self else { return };
        for case in cases {
            let Some(deviation) = entry.deviation(&case.id) else { continue };
            let (status, said) = match case.status {
                Status::Failed => (Status::Reported, "a known deviation"),
                Status::Passed => (Status::Failed, "declared as a deviation, which did not occur"),
                other => (other, "declared as a deviation"),
            };
            case.status = status;
            case.problems.push(format!("{said}: {}", deviation.reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{self, Source};
    use crate::target::kind::Cni;

    fn claims(lacks: &str, deviations: &str) -> Claims {
        let text = include_str!("../../fixtures/cni/kindnet.yaml");
        let text = text.replace("lacks: []", lacks).replace("deviations: []", deviations);
        Claims(Some(cni_entry::parse("kindnet.yaml", &text).unwrap()))
    }

    #[test]
    fn cases_of_features_that_are_not_claimed_are_taken_out_and_named() {
        let mut plan = crate::plan::plan(&suite::load(&Source::Embedded).unwrap(), &["walkthrough/*".into()]).unwrap();
        let all = plan.cases.len();
        let said = claims("lacks: [ipblock-pods]", "deviations: []").take_out(&mut plan);
        assert!(!said.is_empty() && plan.cases.len() == all - said.len(), "{said:?}");
        assert!(plan.cases.iter().all(|case| !case.features.contains("ipblock-pods")));
        assert!(said[0].ends_with("kindnet does not claim ipblock-pods"), "{said:?}");
    }

    #[test]
    fn a_deviation_excuses_a_failure_and_accuses_a_success() {
        let claims = claims("lacks: []", "deviations: [{case: a/b, reason: it sweeps late}]");
        let case = |id: &str, status| CaseReport {
            id: id.into(),
            file: String::new(),
            description: String::new(),
            rules: Default::default(),
            status,
            problems: Vec::new(),
            namespaces: Default::default(),
            control: None,
            steps: Vec::new(),
            took_ms: 0,
            replay: String::new(),
        };
        let mut cases = [
            case("a/b", Status::Failed),
            case("a/b", Status::Passed),
            case("a/b", Status::NotMeasured),
            case("a/c", Status::Failed),
        ];
        claims.hold(&mut cases);
        let statuses = cases.each_ref().map(|case| case.status);
        assert_eq!(statuses, [Status::Reported, Status::Failed, Status::NotMeasured, Status::Failed]);
        assert_eq!(cases[1].problems, ["declared as a deviation, which did not occur: it sweeps late"]);
        assert!(Claims::of(&Target::Kind(Cni::File("/nonexistent".into()))).is_err());
    }
}
