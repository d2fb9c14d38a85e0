//! The cluster, as a list of steps: network, API server, nodes, controllers, kubelets.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::accounts;
use crate::api::resources::{NAMESPACE, POD};
use crate::api::{Credentials, Filter, Listener, Misbehaviour, Status, Store, kubeconfig, serve_misbehaving};
use crate::cli::{Enforcer, IpFamily, LabOptions};
use crate::enforcers::{self, Enforcers};
use crate::events::Recorder;
use crate::kubelet::{Kubelet, Registry, ServiceAccount};
use crate::net::addresses::{Family, Reuse, fabric_address};
use crate::net::fabric::Fabric;
use crate::net::node::NodeNet;
use crate::net::sysctl;
use crate::nodes::{self, Node};
use crate::processes::Processes;
use crate::report::{Report, Reporter};
use crate::rundir::RunDir;
use crate::{scheduler, services};

/// How long the nodes, which is to say their enforcers, may take to become Ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Boots the cluster, says so, and runs it; returns only if a part of it fails.
pub(crate) async fn run(
    options: LabOptions,
    rundir: RunDir,
    listener: TcpListener,
    reporter: Reporter,
    started: Instant,
) -> anyhow::Result<Infallible> {
    let LabOptions { nodes: count, enforcer, run, hollow, plain_http, misbehaviour, ip_family, reuse_addresses } =
        options;
    let step = |what: &str| reporter.progress(format!("{:>5} ms  {what}", started.elapsed().as_millis()));

    let processes = Processes::start().context("cannot start the reaper")?;
    let families = families(ip_family)?;
    let primary = families[0];
    let fabric = Fabric::set_up(families).context("cannot set up the fabric")?;
    let reuse = if reuse_addresses { Reuse::AtOnce } else { Reuse::Late };
    let mut nodes = Vec::new();
    for number in 1..=count {
        let name = Node::name(number);
        let net = NodeNet::create(&fabric, number, count, reuse)
            .with_context(|| format!("cannot set up the network of {name}"))?;
        nodes.push(Node { name, net, ready: watch::channel(false).0 });
    }
    let outside = NodeNet::create_outside(&fabric).context("cannot set up the network outside")?;
    let outside = Node { name: nodes::OUTSIDE.into(), net: outside, ready: watch::channel(false).0 };
    let enforced_nodes = nodes.clone();
    nodes.push(outside);
    step(&format!("network: fabric and {count} nodes"));

    let store = Store::new();
    store.set_service_networks(fabric.families.iter().map(|family| family.service_cidr()).collect());
    for name in ["default", "kube-node-lease", "kube-public", enforcers::NAMESPACE] {
        create_namespace(&store, name).map_err(refused)?;
    }
    nodes::register(&store, &nodes).map_err(refused)?;
    let registry = Registry::default();
    let host = listener.local_addr().context("the host's listener has no address")?;
    let inside = TcpListener::bind((fabric_address(primary), 0)).context("cannot listen on the fabric")?;
    let fabric_side = inside.local_addr().context("the fabric's listener has no address")?;
    let service_address = services::publish_api_server(&store, fabric_side).map_err(refused)?;
    let proxied: io::Result<Vec<_>> = enforced_nodes.iter().map(services::ProxiedNode::open).collect();
    let proxied = proxied.context("cannot write the rules of Services")?;
    let credentials =
        Credentials::new(&[host.ip(), fabric_side.ip(), service_address]).context("cannot make certificates")?;
    let context = format!("netpol-lab-{}", run.as_str());
    let inner_kubeconfig = rundir.private().join("kubeconfig");
    write_kubeconfig(&inner_kubeconfig, &credentials, &format!("https://{fabric_side}"), &context)?;
    let mut parts = JoinSet::new();
    let (api_store, runtime) = (store.clone(), Arc::new(registry.clone()));
    let credentials = Arc::new(credentials);
    let api_credentials = credentials.clone();
    let misbehaviour = misbehaviour.then(|| Misbehaviour::new(&store));
    let listeners = [Listener { socket: listener, tls: !plain_http }, inside.into()];
    parts.spawn(async move {
        let ended = serve_misbehaving(api_store, runtime, listeners, &api_credentials, misbehaviour).await;
        anyhow!("the API server ended: {ended:?}")
    });
    step("API server");

    let recorder = Recorder::start(store.clone(), "default-scheduler");
    parts.spawn(part("scheduler", scheduler::run(store.clone(), recorder.clone())));
    parts.spawn(part("service account controller", accounts::keep(store.clone())));
    parts.spawn(part("endpointslice controller", services::keep_slices(store.clone())));
    parts.spawn(part("proxy", services::keep_translating(store.clone(), proxied)));
    for node in &nodes {
        let kubelet = Kubelet {
            store: store.clone(),
            node: node.name.clone(),
            net: node.net.clone(),
            ready: node.ready.subscribe(),
            processes: processes.clone(),
            registry: registry.clone(),
            run: run.clone(),
            bin: rundir.bin(),
            files: rundir.private().join("pods"),
            account: ServiceAccount { ca: credentials.ca_pem.clone(), accounts: credentials.accounts.clone() },
            recorder: recorder.of("kubelet", &node.name),
        };
        parts.spawn(part("kubelet", Arc::new(kubelet).run()));
    }
    hollow.create(&store).map_err(refused)?;
    parts.spawn(part("churn of hollow pods", hollow.run(store.clone())));
    let enforced = enforcer != Enforcer::None;
    let settling = if matches!(enforcer, Enforcer::Command(_)) { enforcers::SETTLED } else { Duration::ZERO };
    parts.spawn(part("node controller", nodes::keep_conditions(store.clone(), nodes.clone(), enforced)));
    let enforcers = Enforcers { enforcer, kubeconfig: inner_kubeconfig, nodes: enforced_nodes };
    parts.spawn(part("enforcer controller", enforcers.keep(store.clone())));

    let all_ready = async {
        let settled = nodes.iter().map(|node| async {
            let mut ready = node.ready.subscribe();
            loop {
                // The sender is in `nodes`.
                let _ = ready.wait_for(|ready| *ready).await;
                // An enforcer that ends in the meantime has to run as long again.
                let unready = ready.wait_for(|ready| !*ready);
                if node.is_outside() || tokio::time::timeout(settling, unready).await.is_err() {
                    break;
                }
            }
        });
        futures::future::join_all(settled).await;
    };
    tokio::select! {
        () = all_ready => {}
        failure = enforcers::failure(store.clone(), registry.clone()) => return Err(anyhow!(failure.map_err(refused)?)),
        Some(ended) = parts.join_next() => return Err(ended?),
        () = tokio::time::sleep(READY_WITHIN) => return Err(not_ready(&store, &registry).await),
    }
    let scheme = if plain_http { "http" } else { "https" };
    write_kubeconfig(&rundir.kubeconfig(), &credentials, &format!("{scheme}://{host}"), &context)?;
    step("every node is Ready");
    reporter.send(&Report::Ready { after_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX) });
    match parts.join_next().await {
        Some(ended) => Err(ended?),
        None => Err(anyhow!("the cluster has no parts")),
    }
}

/// The cluster's families, the primary one first.
fn families(asked: Option<IpFamily>) -> anyhow::Result<Vec<Family>> {
    let has_ipv6 = sysctl::has_ipv6();
    let family = asked.unwrap_or(if has_ipv6 { IpFamily::Dual } else { IpFamily::Ipv4 });
    if family != IpFamily::Ipv4 && !has_ipv6 {
        return Err(anyhow!("--ip-family {family} wants IPv6, and this kernel has none; use --ip-family ipv4"));
    }
    Ok(match family {
        IpFamily::Ipv4 => vec![Family::V4],
        IpFamily::Ipv6 => vec![Family::V6],
        IpFamily::Dual => vec![Family::V4, Family::V6],
    })
}

async fn part(name: &'static str, work: impl Future<Output = Result<(), Status>>) -> anyhow::Error {
    match work.await {
        Ok(()) => anyhow!("the {name} ended"),
        Err(status) => anyhow!("the {name} ended: {}", status.message),
    }
}

/// What is known of enforcers that do not become Ready.
async fn not_ready(store: &Store, registry: &Registry) -> anyhow::Error {
    let filter = Filter { namespace: Some(enforcers::NAMESPACE.into()), ..Filter::default() };
    let pods = store.list(POD, &filter).items;
    let mut states = Vec::new();
    for pod in pods.iter().filter(|pod| !nodes::is_ready(pod.value())) {
        let state = &pod.value()["status"]["containerStatuses"][0]["state"];
        let lines = registry.last_lines(enforcers::NAMESPACE, pod.name(), 5).await.join("");
        states.push(format!("{}: {state}, its last lines:\n{lines}", pod.name()));
    }
    anyhow!("not every enforcer was Ready within {READY_WITHIN:?}: {}", states.join("; "))
}

fn refused(status: Status) -> anyhow::Error {
    anyhow!("the API server refused an object of the lab's own: {}", status.message)
}

fn create_namespace(store: &Store, name: &str) -> Result<(), Status> {
    store.create(NAMESPACE, "", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})).map(drop)
}

/// Writes a kubeconfig that only this user can read: it holds the cluster's token.
fn write_kubeconfig(path: &Path, credentials: &Credentials, server: &str, context: &str) -> anyhow::Result<()> {
    let text = kubeconfig(credentials, server, context);
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}
