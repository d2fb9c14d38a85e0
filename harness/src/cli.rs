//! Arguments of `netpol run`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::Shard;
use crate::execute::Profile;
use crate::target::Target;
use crate::target::kind::{KindArgs, cni_entry};

/// The most lanes that are taken in the lab unasked: every one has pods of its own, for each of which there is memory to be had.
const LANES_AT_MOST: usize = 16;

/// Runs conformance cases against a cluster and judges what was measured.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Exit codes: 0 all passed · 1 a verdict was wrong · 2 bad input · 3 the environment failed or something could not be \
                        measured · 4 nothing was selected · 130 interrupted. 1 beats 3."
)]
pub struct RunArgs {
    /// Globs on area/name; '*' does not cross '/'. All cases where there is none.
    #[arg(value_name = "PATTERN")]
    pub patterns: Vec<String>,
    /// Where the cluster comes from: lab; kind:calico, kind:enforcer, kind:kindnet, kind:none or kind:FILE; or kubeconfig:FILE with an
    /// optional #CONTEXT.
    #[arg(long, env = "NETPOL_TARGET", default_value = "lab", value_name = "TARGET")]
    pub target: Target,
    /// What enforces policies in the lab: builtin, none, or command:'prog --kubeconfig {kubeconfig} --node {node}'.
    #[arg(long, value_name = "ENFORCER")]
    pub enforcer: Option<String>,
    /// The lab's worker nodes [default: 2].
    #[arg(long, value_name = "N")]
    pub nodes: Option<u32>,
    /// Which levels are asserted; the others are reported [default: full in the lab, as the CNI's entry says on kind,
    /// conformance elsewhere].
    #[arg(long, value_enum)]
    pub profile: Option<Profile>,
    /// A folder of suites (AREA/NAME.yaml) instead of the embedded ones.
    #[arg(long, value_name = "DIR")]
    pub suites: Option<PathBuf>,
    /// Shows what would be run, and runs nothing.
    #[arg(long)]
    pub plan: bool,
    /// Leaves everything in place at the end, until Ctrl-C.
    #[arg(long)]
    pub keep: bool,
    /// Stops after the first case that does not pass.
    #[arg(long)]
    pub fail_fast: bool,
    /// A pause between steps, for people who watch, such as 5s; runs one case at a time.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub pace: Option<Duration>,
    /// How many cases run at the same time, each in namespaces of its own [default: 4 per processor in the lab, 16 at most; 2 elsewhere; 1
    /// with --pace].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub parallel: Option<u32>,
    /// Runs every case so many times, each time as a case of its own in the report.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub repeat: u32,
    /// Runs share I of N of the cases, from 1, such as 2/5.
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,
    /// Features that the engine does not claim, such as ipblock-pods: cases that need one are skipped, which is said.
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    pub unsupported: Vec<String>,
    /// A file of cases that are known to fail: deviations: [{case: AREA/NAME, reason: …}]. One that passes after all fails the run.
    #[arg(long, value_name = "FILE")]
    pub deviations: Option<PathBuf>,
    /// How long held connections are watched at least [default: 35s on engines that we do not know to judge at once].
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub hold: Option<Duration>,
    /// The image of the agent's pods, with this netpol as its entry point [default: the one that kind's nodes were given; elsewhere
    /// netpol].
    #[arg(long, value_name = "REF")]
    pub image: Option<String>,
    /// Agrees beforehand to what is created in a cluster that netpol did not make.
    #[arg(long)]
    pub yes: bool,
    /// Lets cases restart the policy engine of a cluster that netpol did not make: its pods are deleted. Such cases are skipped
    /// otherwise, which is said.
    #[arg(long)]
    pub restart_engine: bool,
    /// What a kind cluster is to be like.
    #[command(flatten)]
    pub kind: KindArgs,
    /// A folder for report.json, junit.xml and a folder per case that did not pass; made if it is not there.
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// What is printed on stdout.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Which cases' matrices are drawn [default: all of up to 12 cases, otherwise those of cases that did not pass].
    #[arg(long, value_enum, value_name = "WHICH")]
    pub draw: Option<Draw>,
}

/// Which cases' matrices are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Draw {
    /// All.
    All,
    /// Those of cases that did not pass; an overview stands for the others.
    Failed,
}

/// More cases than this are not drawn unasked.
const DRAWN: usize = 12;

/// What is printed on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A matrix per step, for people.
    Text,
    /// The report as one JSON document, for machines.
    Json,
}

impl RunArgs {
    /// The profile given, or the target's own.
    pub fn profile(&self) -> Profile {
        let default = || match &self.target {
            Target::Lab => Profile::Full,
            Target::Kind(cni) => cni_entry::load(cni).map_or(Profile::Conformance, |entry| entry.cni.profile),
            Target::Kubeconfig { .. } => Profile::Conformance,
        };
        self.profile.unwrap_or_else(default)
    }

    /// Which of so many cases' matrices are drawn.
    pub fn drawn(&self, cases: usize) -> Draw {
        self.draw.unwrap_or(if cases > DRAWN { Draw::Failed } else { Draw::All })
    }

    /// What is wrong with flags that do not fit the target.
    pub fn misfit(&self) -> Option<String> {
        if self.target != Target::Lab && (self.enforcer.is_some() || self.nodes.is_some()) {
            return Some(format!("--enforcer and --nodes belong to the lab; the target is {}", self.target));
        }
        // The families are the lab's as well.
        let ip_family = if self.target == Target::Lab { None } else { self.kind.ip_family };
        let kind = KindArgs { ip_family, ..self.kind.clone() };
        if !matches!(self.target, Target::Kind(_)) && !kind.is_unset() {
            return Some(format!(
                "--node-image, --workers, --load and their like belong to kind:…; the target is {}",
                self.target
            ));
        }
        None
    }

    /// How many cases run at once.
    pub fn lanes(&self) -> u32 {
        let default = || match (&self.target, self.pace) {
            (_, Some(_)) => 1,
            // A lane waits most of the time: for answers that do not come, and for settle windows to end.
            (Target::Lab, None) => {
                let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
                (4 * processors).min(LANES_AT_MOST) as u32
            }
            (_, None) => 2,
        };
        self.parallel.unwrap_or_else(default)
    }

    /// The arguments of `netpol target up` for this run.
    pub fn target_up(&self, run: &str) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec![self.target.to_string().into()];
        let mut add = |flag: &str, value: &str| arguments.extend([flag.into(), value.into()]);
        if !(self.keep && self.target != Target::Lab) {
            add("--run", run);
        }
        if let Some(enforcer) = &self.enforcer {
            add("--enforcer", enforcer);
        }
        if let Some(nodes) = self.nodes {
            add("--nodes", &nodes.to_string());
        }
        if let (Target::Lab, Some(family)) = (&self.target, self.kind.ip_family) {
            add("--ip-family", &family.to_string());
        }
        if let Target::Kind(_) = self.target {
            if let Some(image) = &self.image {
                add("--image", image);
            }
            arguments.extend(self.kind.arguments());
            arguments.extend(self.keep.then(|| "--keep".into()));
        }
        arguments
    }

    /// The flags that lead to the same target, for a command to paste.
    pub fn target_flags(&self) -> String {
        let target = self.target.to_string();
        let suites = self.suites.as_ref().map(|suites| suites.display().to_string());
        let kind: Vec<_> = match self.target {
            Target::Kind(_) => self.kind.arguments().iter().map(|word| word.to_string_lossy().into_owned()).collect(),
            Target::Lab | Target::Kubeconfig { .. } => Vec::new(),
        };
        let given =
            [("--target", Some(&target)), ("--enforcer", self.enforcer.as_ref()), ("--suites", suites.as_ref())];
        let words = given.into_iter().filter_map(|(flag, value)| value.map(|value| [flag, value.as_str()])).flatten();
        // Only a NUL byte cannot be quoted, and no argument holds one.
        shlex::try_join(words.chain(kind.iter().map(String::as_str))).unwrap_or_default()
    }
}
