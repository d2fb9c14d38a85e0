//! The loop: what the API server tells of Nodes, and what happens to the node's links and routes, leads to a pass that
//! puts everything in its place.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::Node as ApiNode;
use rtnetlink::{Handle, MulticastGroup};

use super::cli::CniArgs;
use super::nodes::{Network, Node, Nodes};
use super::problems::Problem;
use super::status::Status;
use super::{conflist, enforcer_ready, forwarding, masquerade, mtu, routes};
use crate::apply::Kernel;
use crate::compile;
use crate::health::{self, Health};
use crate::staleness::Staleness;
use crate::until_stopped::until_stopped;
use crate::watch;
use crate::world::Delta;

/// How long until the next pass if nothing happens: while pods wait for their network, while something is wrong, and
/// otherwise, because a full socket loses notifications.
const WHILE_WAITING: Duration = Duration::from_millis(200);
const WHILE_BROKEN: Duration = Duration::from_secs(1);
const OTHERWISE: Duration = Duration::from_secs(10);

/// Runs `netpol cni …` on a runtime of its own, until SIGTERM or SIGINT. Configuration, routes and rules stay.
///
/// # Errors
/// The kubeconfig cannot be read, the port of `/readyz` is taken, or there is no way to talk to the kernel.
pub fn run(args: CniArgs) -> anyhow::Result<ExitCode> {
    until_stopped("configuration, routes and rules stay", connect(args))
}

async fn connect(args: CniArgs) -> anyhow::Result<ExitCode> {
    let health = Health::<Status>::default();
    health.update(|status| status.node = args.node.clone());
    let address = health::serve(args.health_port, health.clone())
        .await
        .with_context(|| format!("cannot listen on 127.0.0.1:{}; choose another --health-port", args.health_port))?;
    tracing::info!(node = args.node, %address, "started");
    let client = args.server.client().await?;
    let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route];
    let (connection, links, mut news) =
        rtnetlink::new_multicast_connection(&groups).context("cannot open a route netlink socket")?;
    tokio::spawn(connection);
    let mut node = NodeNetwork::start(args, links, health)?;
    let mut changes = watch::kind::<ApiNode, _, _>(&client, Node::read, &Staleness::default()).boxed();
    loop {
        tokio::select! {
            change = changes.next() => {
                node.take(change.context("the watch of the API server ended")?);
                while let Some(Some(change)) = changes.next().now_or_never() {
                    node.take(change);
                }
            }
            message = news.next() => drop(message.context("nobody tells of the node's links any more")?),
            () = tokio::time::sleep(node.next_pass()) => {}
        }
        // What has queued up meanwhile is seen by the same pass.
        while let Ok(message) = news.try_recv() {
            drop(message);
        }
        node.pass().await;
    }
}

struct NodeNetwork {
    args: CniArgs,
    links: Handle,
    kernel: Kernel,
    /// None until the first list has arrived: an empty cluster would have every route deleted (P28).
    nodes: Option<Nodes>,
    problems: Vec<Problem>,
    written: bool,
    health: Health<Status>,
}

impl NodeNetwork {
    fn start(args: CniArgs, links: Handle, health: Health<Status>) -> anyhow::Result<Self> {
        let mut kernel = Kernel::open()?;
        // After a reboot the last configuration is still there, and no rule that would close a pod until it is policed (P41).
        if !args.without_enforcer
            && !kernel.has_table(compile::TABLE)?
            && conflist::withdraw(&args.config_dir).context("cannot take back an old network configuration")?
        {
            tracing::warn!("no enforcer has run since this node booted: pods wait for it");
        }
        Ok(Self { args, links, kernel, nodes: None, problems: Vec::new(), written: false, health })
    }

    fn take(&mut self, change: Delta<Node>) {
        match (change, &mut self.nodes) {
            (Delta::All(listed), nodes) => {
                *nodes = Some(listed.into_iter().map(|node| (node.name.clone(), node)).collect());
            }
            (Delta::Set(node), Some(nodes)) => drop(nodes.insert(node.name.clone(), node)),
            (Delta::Gone(node), Some(nodes)) => drop(nodes.remove(&node.name)),
            (Delta::Set(_) | Delta::Gone(_), None) => {}
        }
    }

    fn next_pass(&self) -> Duration {
        match (self.written, self.problems.is_empty()) {
            (false, _) => WHILE_WAITING,
            (true, false) => WHILE_BROKEN,
            (true, true) => OTHERWISE,
        }
    }

    /// Puts everything in its place that is not, and tells what could not be.
    async fn pass(&mut self) {
        let Some(nodes) = &self.nodes else { return };
        let (network, mut problems) = Network::of(&self.args.node, nodes);
        let (changes, unroutable) = routes::reconcile(&self.links, &network.routes).await;
        if changes > 0 {
            tracing::info!(changes, routes = network.routes.len(), "routes to the other nodes' pods are in place");
        }
        problems.extend(unroutable);
        if !network.own.is_empty() {
            let off = forwarding::check(&network.own);
            if !off.is_empty() && routes::lead_to_pods(&self.links, &network.own).await {
                problems.extend(off);
            }
            // Pods may start although another node cannot be reached; unmasqueraded they may not.
            let hindrance = match self.masquerade(&network) {
                Ok(()) => self.configure(&network).await.err(),
                Err(problem) => Some(problem),
            };
            problems.extend(hindrance);
        }
        self.tell(network, problems);
    }

    fn masquerade(&mut self, network: &Network) -> Result<(), Problem> {
        let mut apply = || {
            if !self.kernel.has_table(masquerade::TABLE)? {
                self.kernel.forget();
            }
            self.kernel.apply(masquerade::ruleset(&network.own, &network.cluster))
        };
        let applied = apply().map_err(|error| Problem::Kernel {
            doing:
                "masquerade what leaves the cluster (the kernel needs the modules nf_nat, nft_chain_nat and nft_masq)"
                    .to_owned(),
            error: error.to_string(),
        })?;
        if applied.operations > 0 {
            tracing::info!(operations = applied.operations, "what leaves the cluster is masqueraded");
        }
        Ok(())
    }

    /// Writes the configuration, once the enforcer is ready. From then on a pod is closed until it is policed, whether the
    /// enforcer runs or not: it is not asked again.
    async fn configure(&mut self, network: &Network) -> Result<(), Problem> {
        let directory = &self.args.config_dir;
        if !self.written && !self.args.without_enforcer {
            let asked = enforcer_ready::ask(&self.args.ready).await;
            asked.map_err(|reason| Problem::Enforcer { url: self.args.ready.clone(), reason })?;
        }
        let mtu = match self.args.mtu {
            Some(mtu) => mtu,
            None => mtu::of_addresses(&self.links, &network.addresses).await?,
        };
        let file = directory.join(conflist::FILE);
        let failed = |error: std::io::Error| Problem::Configuration { file: file.clone(), error: error.to_string() };
        if conflist::write(directory, &conflist::content(&network.own, mtu)).map_err(failed)? {
            tracing::info!(file = %file.display(), mtu, "pods can be connected");
        }
        self.written = true;
        match conflist::taken_instead(directory).map_err(failed)? {
            Some(file) => Err(Problem::OtherConfiguration { file }),
            None => Ok(()),
        }
    }

    /// Tells of problems in the log once, in `/status` and `/readyz` as long as they are there.
    fn tell(&mut self, network: Network, problems: Vec<Problem>) {
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            tracing::warn!("{problem}");
        }
        if problems.is_empty() && !self.problems.is_empty() {
            tracing::info!("nothing is wrong any more");
        }
        let configuration = self.written.then(|| self.args.config_dir.join(conflist::FILE));
        self.health.update(|status| {
            status.listed = true;
            status.pod_cidrs = network.own;
            status.routes = network.routes;
            status.configuration = configuration;
            status.problems = problems.iter().map(ToString::to_string).collect();
        });
        self.problems = problems;
    }
}
