//! Arguments of `netpol lab up` and `netpol target up lab`, and what they mean.

use std::str::FromStr;

use crate::hollow::Hollow;
use crate::net::addresses::MAX_NODES;

/// Command-line arguments of the embedded cluster.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct LabArgs {
    /// Number of worker nodes
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_NODES)))]
    pub nodes: u16,

    /// What enforces policies on the nodes: `builtin`, `none`, or `command:'PROGRAM ARGUMENTS'` with the placeholders
    /// `{kubeconfig}` and `{node}`, run once per node in the node's network namespace
    #[arg(long, value_name = "ENFORCER", default_value = "builtin")]
    pub enforcer: Enforcer,

    /// Id of the run, part of names that others see; random if absent
    #[arg(long, value_name = "ID")]
    pub run: Option<RunId>,

    /// Pods that are API objects only, on nodes and in namespaces of their own, for tests of scale
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=i64::from(Hollow::MOST)))]
    pub hollow_pods: u32,

    /// Changes of hollow pods a second
    #[arg(long, value_name = "RATE", default_value_t = 0)]
    pub churn: u32,

    /// Serve the API on the host's loopback without TLS; the token is still needed
    #[arg(long)]
    pub plain_http: bool,

    /// Serve the endpoint by which tests make the API server misbehave
    #[arg(long, hide = true)]
    pub misbehaviour: bool,

    /// Give a pod the address that was freed last on its node, at once; otherwise addresses rest as long as possible.
    /// One pod alone asks for that by the annotation netpol.dev/reuse-address: "true"
    #[arg(long)]
    pub reuse_addresses: bool,
}

/// Which addresses pods, nodes and Services have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum IpFamily {
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
    /// Both, IPv4 first.
    Dual,
}

impl std::fmt::Display for IpFamily {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            IpFamily::Ipv4 => "ipv4",
            IpFamily::Ipv6 => "ipv6",
            IpFamily::Dual => "dual",
        })
    }
}

/// What to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabOptions {
    /// Number of worker nodes, 1 to 250.
    pub nodes: u16,
    /// What enforces policies.
    pub enforcer: Enforcer,
    /// Id of the run.
    pub run: RunId,
    /// Pods that are API objects only.
    pub hollow: Hollow,
    /// Whether the host's side of the API server speaks plain HTTP.
    pub plain_http: bool,
    /// Whether the API server can be told to misbehave.
    pub misbehaviour: bool,
    /// The families; `None`: both, where the kernel has IPv6.
    pub ip_family: Option<IpFamily>,
    /// Whether an address that was freed is used again at once.
    pub reuse_addresses: bool,
}

impl From<LabArgs> for LabOptions {
    fn from(args: LabArgs) -> Self {
        let LabArgs { nodes, enforcer, run, hollow_pods, churn, plain_http, misbehaviour, reuse_addresses } = args;
        LabOptions {
            nodes,
            enforcer,
            run: run.unwrap_or_else(RunId::random),
            hollow: Hollow { pods: hollow_pods, churn },
            plain_http,
            misbehaviour,
            ip_family: None,
            reuse_addresses,
        }
    }
}

/// What enforces policies on the nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enforcer {
    /// `netpol enforcer`.
    Builtin,
    /// Nothing: policies are accepted and do nothing.
    None,
    /// A program and its arguments, with placeholders.
    Command(Vec<String>),
}

/// Why an `--enforcer` is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnforcerError {
    /// Not one of the words.
    #[error("enforcer {0:?} is unknown: give builtin, none or command:'PROGRAM ARGUMENTS'")]
    Unknown(String),
    /// `command:` without a program.
    #[error("command: names no program: give command:'PROGRAM ARGUMENTS'")]
    Empty,
    /// A quote that nothing closes.
    #[error("the quote {0} in {1:?} is never closed")]
    Quote(char, String),
    /// A placeholder that does not exist.
    #[error(
        "placeholder {{{0}}} is unknown: there are {{kubeconfig}} and {{node}}; a literal brace is written {{{{ or }}}}"
    )]
    Placeholder(String),
}

impl FromStr for Enforcer {
    type Err = EnforcerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "builtin" => return Ok(Enforcer::Builtin),
            "none" => return Ok(Enforcer::None),
            _ => {}
        }
        let command = text.strip_prefix("command:").ok_or_else(|| EnforcerError::Unknown(text.to_owned()))?;
        let words = split(command)?;
        if words.is_empty() {
            return Err(EnforcerError::Empty);
        }
        for word in &words {
            fill(word, "", "")?;
        }
        Ok(Enforcer::Command(words))
    }
}

/// Splits at white space; quotes of both kinds keep it, and a backslash outside of single quotes keeps what follows.
fn split(text: &str) -> Result<Vec<String>, EnforcerError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    match quote {
        Some(open) => Err(EnforcerError::Quote(open, text.to_owned())),
        None => {
            words.extend(word);
            Ok(words)
        }
    }
}

/// Replaces `{kubeconfig}` and `{node}`; `{{` and `}}` are literal braces.
pub(crate) fn fill(word: &str, kubeconfig: &str, node: &str) -> Result<String, EnforcerError> {
    let mut filled = String::new();
    let mut rest = word;
    while let Some(at) = rest.find(['{', '}']) {
        filled.push_str(&rest[..at]);
        let brace = &rest[at..at + 1];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            filled.push_str(brace);
            rest = after;
            continue;
        }
        let name = if brace == "{" { rest.split('}').next().unwrap_or_default() } else { brace };
        filled.push_str(match name {
            "kubeconfig" => kubeconfig,
            "node" => node,
            other => return Err(EnforcerError::Placeholder(other.to_owned())),
        });
        rest = rest[name.len()..].strip_prefix('}').ok_or_else(|| EnforcerError::Placeholder(name.to_owned()))?;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// Id of a run: lower-case letters, digits and `-`, at most 40, so that it can be part of names and labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunId(String);

/// Why a run id is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "run id {0:?} is not a name: use 1 to 40 lower-case letters, digits and -, with a letter or digit at both ends"
)]
pub struct RunIdError(String);

impl RunId {
    /// Eight random hexadecimal digits.
    pub fn random() -> RunId {
        use std::hash::{BuildHasher, RandomState};
        RunId(format!("{:08x}", RandomState::new().hash_one(std::process::id()) >> 32))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RunId {
    type Err = RunIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let ok = (1..=40).contains(&text.len())
            && text.chars().all(|c| letter(c) || c == '-')
            && text.starts_with(letter)
            && text.ends_with(letter);
        if ok { Ok(RunId(text.to_owned())) } else { Err(RunIdError(text.to_owned())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Enforcer {
        Enforcer::Command(text.split('|').map(str::to_owned).collect())
    }

    #[test]
    fn enforcers_are_read() {
        assert_eq!("builtin".parse(), Ok(Enforcer::Builtin));
        assert_eq!("none".parse(), Ok(Enforcer::None));
        let command = "command:prog  --kubeconfig {kubeconfig} 'a b' \"c \\\" d\" e\\ f --node={node} ''";
        assert_eq!(command.parse(), Ok(words("prog|--kubeconfig|{kubeconfig}|a b|c \" d|e f|--node={node}|")));
    }

    #[test]
    fn bad_enforcers_are_refused() {
        assert_eq!("calico".parse::<Enforcer>(), Err(EnforcerError::Unknown("calico".into())));
        assert_eq!("command: ".parse::<Enforcer>(), Err(EnforcerError::Empty));
        assert_eq!("command:a 'b".parse::<Enforcer>(), Err(EnforcerError::Quote('\'', "a 'b".into())));
        for text in ["command:a {nodes}", "command:a {node", "command:a }", "command:a {}"] {
            assert!(matches!(text.parse::<Enforcer>(), Err(EnforcerError::Placeholder(_))), "{text}");
        }
    }

    #[test]
    fn placeholders_are_filled() {
        assert_eq!(fill("--c={kubeconfig}:{node}", "/k", "n1"), Ok("--c=/k:n1".into()));
        assert_eq!(fill("{{node}}", "/k", "n1"), Ok("{node}".into()));
    }

    #[test]
    fn run_ids_are_names() {
        assert!(RunId::random().as_str().parse::<RunId>().is_ok());
        assert_ne!(RunId::random(), RunId::random());
        for bad in ["", "-a", "a-", "A", "a_b", "a/b", &"x".repeat(41)] {
            assert!(bad.parse::<RunId>().is_err(), "{bad}");
        }
    }
}
