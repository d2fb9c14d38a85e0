//! The index of the catalogue: which cases cite a rule, and which rules a case cites.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use netpol_oracle::RuleId;

use super::Loaded;

/// Every rule that there is, in order.
pub fn rules() -> Vec<RuleId> {
    let series = |letter: char| (1u8..).map_while(move |number| format!("{letter}{number}").parse().ok());
    series('N').chain(series('V')).collect()
}

/// The rules that no case cites.
pub fn uncovered(loaded: &Loaded) -> Vec<RuleId> {
    let cited: BTreeSet<&String> = loaded.cases.iter().flat_map(|case| &case.rules).collect();
    rules().into_iter().filter(|rule| !cited.contains(&rule.to_string())).collect()
}

/// The index as Markdown. Cases of one file are one entry: its parameters change what is probed, not what is shown.
pub fn index(loaded: &Loaded) -> String {
    let mut files: BTreeMap<&str, (&str, &BTreeSet<String>, usize)> = BTreeMap::new();
    for case in &loaded.cases {
        files.entry(&case.file).or_insert((&case.description, &case.rules, 0)).2 += 1;
    }
    let mut text = format!(
        "# The catalogue\n\nGenerated from the suites; `UPDATE_INDEX=1 cargo test -p netpol-harness --test suites` writes it anew. \
         {} files, {} cases. Rules: [docs/rules.md](../docs/rules.md).\n\n## Rule → cases\n\n| rule | cases |\n|---|---|\n",
        files.len(),
        loaded.cases.len()
    );
    let name = |file: &str| file.trim_end_matches(".yaml").to_owned();
    // Writing to a String cannot fail.
    for rule in rules() {
        let citing = files.iter().filter(|(_, (_, rules, _))| rules.contains(&rule.to_string()));
        let citing: Vec<String> = citing.map(|(file, _)| format!("[{}]({file})", name(file))).collect();
        let _ = writeln!(text, "| {rule} | {} |", if citing.is_empty() { "–".to_owned() } else { citing.join(", ") });
    }
    text += "\n## Case → rules\n\n| case | | rules |\n|---|---|---|\n";
    for (file, (description, rules, count)) in &files {
        let times = if *count > 1 { format!(" (×{count})") } else { String::new() };
        let mut rules: Vec<RuleId> = rules.iter().filter_map(|rule| rule.parse().ok()).collect();
        rules.sort();
        let rules: Vec<String> = rules.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "| [{}]({file}){times} | {description} | {} |", name(file), rules.join(", "));
    }
    text
}
