//! What policies cost the packets: connections and bytes from one pod to another with all policies of a large cluster, beside the
//! same without any, in turns.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use netpol_enforcer::apply::Kernel;
use netpol_enforcer::compile::compile;
use netpol_enforcer::world::{Change, Delta, Policy, World};
use serde_json::json;
use socket2::{Domain, Socket, Type};

use super::cluster::{Size, address, namespace_name};
use super::node::{Node, Place};
use super::scale::{site, typed, world};
use crate::report::{Report, Target, Unit};
use crate::samples::Samples;

/// For connections, which are closed at once.
const CONNECTIONS: u16 = 7000;
/// For one that carries as much as it can.
const STREAM: u16 = 7001;
/// How often both are measured in turns: what else runs on the machine meets one as often as the other.
const ROUNDS: usize = 30;
const CONNECTIONS_A_ROUND: usize = 200;
const STREAM_A_ROUND: Duration = Duration::from_millis(200);

/// Connect latency and throughput with all policies of a cluster of this size, in ratio to those without.
///
/// # Errors
/// The kernel refuses something, or a connection that is allowed.
pub(super) fn measure(size: Size, report: &mut Report) -> anyhow::Result<()> {
    let node = Node::new(address(1), address(0))?;
    let mut all = world(size)?;
    for policy in [between_them(0, "Ingress", "ingress", "from"), between_them(1, "Egress", "egress", "to")] {
        all.apply(Change::Policies(Delta::Set(Policy::read(&typed::<NetworkPolicy>(policy)?))));
    }
    let none = World { policies: Default::default(), ..all.clone() };
    let [with, without] = [&all, &none].map(|world| compile(world, &site()));
    let mut kernel = Kernel::open()?;
    let received = serve(&node.server)?;
    let (mut slower, mut faster) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let mut measured = [(0.0, 0.0); 2];
        // Who is first changes.
        for turn in [round % 2, 1 - round % 2] {
            kernel.apply([&with, &without][turn].clone())?;
            let latency = connect(&node)?.percentile(50.0).as_secs_f64();
            let stream = send(&node)?;
            let (before, start) = (received.load(Ordering::Relaxed), Instant::now());
            thread::sleep(STREAM_A_ROUND);
            let bytes = received.load(Ordering::Relaxed) - before;
            measured[turn] = (latency, bytes as f64 / start.elapsed().as_secs_f64());
            drop(stream);
        }
        let [(latency, rate), (latency_without, rate_without)] = measured;
        slower.push(latency_without / latency);
        faster.push(rate / rate_without);
    }
    for (what, ratios) in [("connections a second", &mut slower), ("TCP throughput", &mut faster)] {
        ratios.sort_by(f64::total_cmp);
        let name = format!("{what} with {} policies, to none", all.policies.len());
        report.add(name, ratios[ROUNDS / 2], Unit::Ratio, Some(Target::AtLeast(0.95)));
    }
    Ok(())
}

/// What lets the two talk although other policies isolate them.
fn between_them(namespace: usize, kind: &str, direction: &str, side: &str) -> serde_json::Value {
    let tier = ["api", "web"][namespace];
    let peer = json!({ "namespaceSelector": {}, "podSelector": { "matchLabels": { "tier": tier } } });
    json!({
        "metadata": { "name": "between-them", "namespace": namespace_name(namespace) },
        "spec": {
            "podSelector": {}, "policyTypes": [kind],
            (direction): [{ (side): [peer], "ports": [{ "port": CONNECTIONS, "endPort": STREAM }] }],
        },
    })
}

/// Accepts connections, and counts what arrives by the streams.
fn serve(server: &Place) -> anyhow::Result<Arc<AtomicU64>> {
    let listen = |port| server.namespace.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)));
    let (connections, streams) = (listen(CONNECTIONS)?, listen(STREAM)?);
    let received = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&received);
    // They end with the process.
    thread::spawn(move || connections.incoming().for_each(drop));
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 17];
        for mut stream in streams.incoming().flatten() {
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                count.fetch_add(length as u64, Ordering::Relaxed);
            }
        }
    });
    Ok(received)
}

/// Connections one after the other, each reset at once so that its port is free again.
fn connect(node: &Node) -> anyhow::Result<Samples> {
    let to = SocketAddr::from((node.server.address, CONNECTIONS)).into();
    node.client.namespace.run(|| {
        let mut took = Samples::default();
        for _ in 0..CONNECTIONS_A_ROUND {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_linger(Some(Duration::ZERO))?;
            took.time(|| socket.connect_timeout(&to, Duration::from_secs(3))).context("connecting to the server")?;
        }
        anyhow::Ok(took)
    })
}

/// A connection that carries as much as it can until it is dropped.
fn send(node: &Node) -> anyhow::Result<Sending> {
    let stream = node.client.namespace.run(|| TcpStream::connect((node.server.address, STREAM)))?;
    let mut sending = stream.try_clone()?;
    thread::spawn(move || {
        let bytes = vec![0; 1 << 17];
        while sending.write_all(&bytes).is_ok() {}
    });
    Ok(Sending(stream))
}

struct Sending(TcpStream);

impl Drop for Sending {
    fn drop(&mut self) {
        // The other end may have closed it.
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}
