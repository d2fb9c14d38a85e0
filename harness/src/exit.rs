//! The documented exit codes.

use std::process::ExitCode;

use crate::report::{Report, Status};

/// How a command ended, for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: all passed.
    Passed,
    /// 1: a verdict was wrong.
    Wrong,
    /// 2: bad input; nothing was started.
    BadInput,
    /// 3: the environment failed, or something could not be measured.
    Environment,
    /// 4: nothing was selected.
    NothingSelected,
    /// 130: interrupted.
    Interrupted,
}

impl Exit {
    /// What a finished run comes to: a wrong verdict beats one that is missing.
    pub fn of(report: &Report) -> Self {
        match report.status() {
            Status::Passed | Status::Reported => Exit::Passed,
            // Not one of the selected cases could be carried out here.
            Status::Skipped => Exit::NothingSelected,
            Status::Failed => Exit::Wrong,
            Status::NotMeasured => Exit::Environment,
        }
    }

    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Exit::Passed => 0,
            Exit::Wrong => 1,
            Exit::BadInput => 2,
            Exit::Environment => 3,
            Exit::NothingSelected => 4,
            Exit::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}
