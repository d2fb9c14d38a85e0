//! The arguments of `netpol enforcer`.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::api_server::ApiServerArgs;
use crate::compile::OwnNode;

/// Enforces the NetworkPolicies that concern the pods of one node, by nftables rules in the network namespace that it runs
/// in. The rules stay when it stops.
#[derive(Clone, Debug, clap::Args)]
pub struct EnforcerArgs {
    /// Where the API server is.
    #[command(flatten)]
    pub server: ApiServerArgs,
    /// The node whose pods are enforced, as in their spec.nodeName.
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    pub node: String,
    /// The port on 127.0.0.1 of /healthz, /readyz, /status and /metrics.
    #[arg(long, value_name = "PORT", default_value_t = 9808)]
    pub health_port: u16,
    /// Print the ruleset as nft text once the cluster's state is known, and end. Nothing is written.
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: take namespaces, pods and policies from these manifests, not from the API server.
    #[arg(short, long, value_name = "FILE", requires = "dry_run")]
    pub filename: Vec<PathBuf>,
    /// Traffic from a pod to its own node, which the specification leaves open.
    #[arg(long, value_enum, value_name = "VERDICT", default_value_t = OwnNode::Policed)]
    pub pod_to_own_node: OwnNode,
    /// An address of the node's DNS cache (NodeLocal DNSCache, such as 169.254.20.10, and the address of the DNS Service where the
    /// cache answers for it): pods may ask it on port 53 whatever their egress policies say. Once for each address.
    #[arg(long, value_name = "ADDRESS")]
    pub node_local_dns: Vec<IpAddr>,
    /// How the log on stderr is written.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// How a log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// A JSON object per line.
    Json,
}
