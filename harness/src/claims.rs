//! What is said of an engine beforehand, by its CNI's entry or by `--unsupported` and `--deviations`, held against the plan and against
//! what was measured.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;

use crate::decode::Report;
use crate::plan::{Case, Plan};
use crate::report::{CaseReport, Status};
use crate::target::Target;
use crate::target::kind::cni_entry::{self, Deviation};
use crate::{Problem, Problems};

/// An engine's claims: none where nobody makes any.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// Features that it does not claim, and who says so.
    lacks: BTreeSet<String>,
    said_by: String,
    deviations: Vec<Deviation>,
}

/// What a file of `--deviations` holds.
#[derive(Deserialize)]
struct Deviations {
    deviations: Vec<Deviation>,
}

impl Claims {
    /// Of a target's entry, with the features and the file of deviations that were given beside it.
    ///
    /// # Errors
    /// Everything that is wrong in the entry or the file.
    pub(crate) fn of(target: &Target, unsupported: &[String], deviations: Option<&Path>) -> Result<Self, Problems> {
        let mut claims = Claims { said_by: "--unsupported".to_owned(), ..Claims::default() };
        if let Target::Kind(cni) = target {
            let entry = cni_entry::load(cni)?.cni;
            claims.said_by = entry.metadata.name;
            claims.lacks = entry.lacks;
            claims.deviations = entry.deviations;
        }
        claims.lacks.extend(unsupported.iter().cloned());
        if let Some(file) = deviations {
            claims.deviations.extend(read(file)?);
        }
        Ok(claims)
    }

    /// Takes cases out of the plan whose features the engine does not claim; with each the reason.
    pub(crate) fn take_out(&self, plan: &mut Plan) -> Vec<(Case, String)> {
        let lacking = |case: &Case| -> Vec<String> { case.features.intersection(&self.lacks).cloned().collect() };
        let (out, kept) = std::mem::take(&mut plan.cases).into_iter().partition(|case| !lacking(case).is_empty());
        plan.cases = kept;
        let why = |case: Case| {
            let why = format!("skipped: {} does not claim {}", self.said_by, lacking(&case).join(", "));
            (case, why)
        };
        Vec::into_iter(out).map(why).collect()
    }

    /// A declared deviation is no failure; one that did not occur is.
    pub(crate) fn hold(&self, cases: &mut [CaseReport]) {
        for case in cases {
            let Some(deviation) = self.deviations.iter().find(|deviation| deviation.case == case.id) else { continue };
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

fn read(file: &Path) -> Result<Vec<Deviation>, Problems> {
    let name = file.display().to_string();
    let problem = |what: String| Problem {
        file: name.clone(),
        line: None,
        column: None,
        path: None,
        what,
        remedy: "name a file with `deviations: [{case: AREA/NAME, reason: …}]`".to_owned(),
    };
    let text = std::fs::read_to_string(file).map_err(|error| Problems::of(vec![problem(error.to_string())]))?;
    let mut report = Report::new(&name);
    let mut found = Vec::new();
    match serde_yaml::from_str::<serde_yaml::Value>(&text) {
        Ok(value) => {
            let decoded = report.json(&value).and_then(|value| report.decode::<Deviations>(&value, ""));
            found.extend(decoded.into_iter().flat_map(|decoded| decoded.deviations));
        }
        Err(error) => report.not_yaml(&error),
    }
    for (index, deviation) in found.iter().enumerate().filter(|(_, deviation)| deviation.reason.trim().is_empty()) {
        let what = format!("no reason is given for {}", deviation.case);
        report.add(&format!("deviations[{index}].reason"), what, "say why it fails");
    }
    report.finish(&text).map_or(Ok(found), |problems| Err(Problems::of(problems)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{self, Source};
    use crate::target::kind::Cni;

    fn claims(lacks: &str, deviations: &str) -> Claims {
        let text = include_str!("../../fixtures/cni/kindnet.yaml");
        let text = text.replace("lacks: []", lacks).replace("deviations: []", deviations);
        let entry = cni_entry::parse("kindnet.yaml", &text).unwrap();
        Claims { lacks: entry.lacks, said_by: entry.metadata.name, deviations: entry.deviations }
    }

    #[test]
    fn cases_of_features_that_are_not_claimed_are_taken_out_and_named() {
        let mut plan = crate::plan::plan(
            &suite::load(&Source::Embedded).unwrap(),
            &crate::plan::Selection::parse(&["walkthrough/*".into()]).unwrap(),
        );
        let all = plan.cases.len();
        let said = claims("lacks: [ipblock-pods]", "deviations: []").take_out(&mut plan);
        assert!(!said.is_empty() && plan.cases.len() == all - said.len(), "{said:?}");
        assert!(plan.cases.iter().all(|case| !case.features.contains("ipblock-pods")));
        assert!(said[0].1.ends_with("kindnet does not claim ipblock-pods"), "{said:?}");
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
            repetition: 1,
            evidence: None,
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
        assert!(Claims::of(&Target::Kind(Cni::File("/nonexistent".into())), &[], None).is_err());
    }

    #[test]
    fn features_and_deviations_may_be_given_beside_the_target() {
        let file = std::env::temp_dir().join(format!("netpol-deviations-{}.yaml", std::process::id()));
        std::fs::write(&file, "deviations: [{case: a/b, reason: known}]").unwrap();
        let claims = Claims::of(&Target::Lab, &["ipblock-pods".to_owned()], Some(&file)).unwrap();
        assert_eq!(claims.deviations.len(), 1);
        assert!(claims.lacks.contains("ipblock-pods"));
        std::fs::write(&file, "deviations: [{case: a/b, reason: '', because: x}]").unwrap();
        let problems = Claims::of(&Target::Lab, &[], Some(&file)).unwrap_err().to_string();
        std::fs::remove_file(&file).unwrap();
        assert!(problems.contains("unknown key 'because'") && problems.contains("no reason is given"), "{problems}");
    }
}
