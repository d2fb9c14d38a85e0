//! Figures, as data and as a table.

use std::fmt;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde::Serialize;

use crate::Samples;
use crate::machine::Machine;

/// The figures of one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    api_version: &'static str,
    kind: &'static str,
    /// What was measured.
    pub room: &'static str,
    /// Where.
    pub machine: Machine,
    /// In the order in which they were measured.
    pub figures: Vec<Figure>,
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figure {
    /// What it tells.
    pub name: String,
    /// How much.
    pub value: f64,
    /// In what.
    pub unit: Unit,
    /// What the project wants of it, if it wants anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
}

/// The unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Unit {
    /// Milliseconds.
    Milliseconds,
    /// Mebibytes.
    Mebibytes,
    /// A number of things.
    Count,
    /// Things per second.
    PerSecond,
    /// One figure divided by another.
    Ratio,
}

/// What a figure should be, on the project's machine for continuous integration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

impl Target {
    /// Whether a value is as wanted.
    pub fn met(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Milliseconds => "ms",
            Self::Mebibytes => "MiB",
            Self::Count => "",
            Self::PerSecond => "/s",
            Self::Ratio => "×",
        })
    }
}

impl Report {
    /// Without figures.
    pub fn of(room: &'static str) -> Self {
        let machine = Machine::this();
        Self { api_version: "netpol.dev/v1alpha1", kind: "Bench", room, machine, figures: Vec::new() }
    }

    /// Adds a figure.
    pub fn add(&mut self, name: impl Into<String>, value: f64, unit: Unit, target: Option<Target>) {
        self.figures.push(Figure { name: name.into(), value, unit, target });
    }

    /// Adds the median and the 99th percentile of durations; the targets are in milliseconds.
    pub fn durations(&mut self, name: &str, samples: &Samples, p50: Option<f64>, p99: Option<f64>) {
        for (statistic, percentile, most) in [("p50", 50.0, p50), ("p99", 99.0, p99)] {
            let value = samples.percentile(percentile).as_secs_f64() * 1000.0;
            self.add(format!("{name}, {statistic}"), value, Unit::Milliseconds, most.map(Target::AtMost));
        }
    }

    /// The figures for people.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header([self.room, "measured", "wanted", ""]);
        for Figure { name, value, unit, target } in &self.figures {
            let wanted = match target {
                None => String::new(),
                Some(Target::AtMost(most)) => format!("≤ {most} {unit}"),
                Some(Target::AtLeast(least)) => format!("≥ {least} {unit}"),
            };
            let missed = target.is_some_and(|target| !target.met(*value));
            let precise = match unit {
                Unit::Count | Unit::PerSecond => format!("{value:.0} {unit}"),
                _ => format!("{value:.2} {unit}"),
            };
            table.add_row([name.clone(), precise, wanted, if missed { "missed" } else { "" }.to_owned()]);
        }
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let Machine { processors, kernel, optimised } = &self.machine;
        let build = if *optimised { "" } else { ", built without optimisation: these figures say little" };
        format!("{table}\n{processors} processors, Linux {kernel}{build}\n")
    }
}
