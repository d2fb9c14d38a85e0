//! What is wrong with the input, said with its place and what to do about it.

use std::error::Error;
use std::fmt;

/// One thing that is wrong in a suite, a topology or an argument.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, relative to the suites' or fixtures' folder; the argument's name where there is no file.
    pub file: String,
    /// From 1, where it is known.
    pub line: Option<usize>,
    /// From 1, where it is known.
    pub column: Option<usize>,
    /// The place within the document, such as `steps[0].apply[0].spec.ingress[0].from`.
    pub path: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
            if let Some(column) = self.column {
                write!(f, ":{column}")?;
            }
        }
        if let Some(path) = &self.path {
            write!(f, " at {path}")?;
        }
        write!(f, ": {}\n  → {}", self.what, self.remedy)
    }
}

/// Everything that is wrong, in the order of files and lines: all of it in one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}")?;
        }
        match self.0.len() {
            1 => f.write_str("1 problem; nothing was started"),
            many => write!(f, "{many} problems; nothing was started"),
        }
    }
}

impl Error for Problems {}

impl Problems {
    /// Sorts by place and removes repetitions (the cases of one parameterised file repeat theirs).
    pub(crate) fn of(mut problems: Vec<Problem>) -> Self {
        problems.sort();
        problems.dedup();
        Problems(problems)
    }
}
