//! The arguments of `netpol cni`.

use std::path::PathBuf;

use crate::api_server::ApiServerArgs;

/// Connects the pods of one node: writes the container runtime's network configuration, keeps routes to the pods of the
/// other nodes, and masquerades what leaves the cluster. All of that stays when it stops.
#[derive(Clone, Debug, clap::Args)]
pub struct CniArgs {
    /// Where the API server is.
    #[command(flatten)]
    pub server: ApiServerArgs,
    /// The node that it runs on, by the name of its Node object.
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    pub node: String,
    /// The directory in which the container runtime looks for network configurations.
    #[arg(long, value_name = "DIR", default_value = "/etc/cni/net.d")]
    pub config_dir: PathBuf,
    /// Where the node's enforcer says that it is ready. No configuration is written before, so that no pod starts that
    /// could not be policed.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9808/readyz")]
    pub ready: String,
    /// Do not wait for an enforcer: there is none, and policies have no effect.
    #[arg(long, conflicts_with = "ready")]
    pub without_enforcer: bool,
    /// The MTU of pods in bytes, instead of that of the interface with the node's address.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1280..=65535))]
    pub mtu: Option<u32>,
    /// The port on 127.0.0.1 of /healthz, /readyz and /status.
    #[arg(long, value_name = "PORT", default_value_t = 9809)]
    pub health_port: u16,
}
