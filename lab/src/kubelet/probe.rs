//! Readiness probes, sent from the node as the kubelet does.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::namespaces::NetNs;

/// How often a container that has never been ready is asked. Kubernetes would wait for `periodSeconds` even then; the
/// lab is made for short runs.
const EAGER: Duration = Duration::from_millis(15);

/// Bytes of an answer that are read, as in Kubernetes.
const LONGEST_ANSWER: u64 = 10 * 1024;

/// A readiness probe with its defaults filled in.
#[derive(Debug, Clone)]
pub(crate) struct Readiness {
    action: Action,
    to: SocketAddr,
    initial_delay: Duration,
    period: Duration,
    timeout: Duration,
    failures: i32,
    successes: i32,
}

#[derive(Debug, Clone)]
enum Action {
    Get { path: String, host: String },
    Connect,
}

impl Readiness {
    /// Reads the probe of a container whose pod has `address`.
    ///
    /// # Errors
    /// A sentence about what the lab cannot do.
    pub(crate) fn of(container: &Container, address: IpAddr) -> Result<Option<Readiness>, String> {
        let Some(probe) = &container.readiness_probe else { return Ok(None) };
        let (action, host, port) = match probe {
            Probe { http_get: Some(get), .. } => {
                if get.scheme.as_deref().is_some_and(|scheme| scheme != "HTTP") {
                    return Err("readinessProbe: the lab probes by plain HTTP only".into());
                }
                let path = get.path.clone().filter(|path| !path.is_empty()).unwrap_or_else(|| "/".into());
                let host = get.host.clone().unwrap_or_else(|| address.to_string());
                (Action::Get { path, host: host.clone() }, host, &get.port)
            }
            Probe { tcp_socket: Some(connect), .. } => {
                (Action::Connect, connect.host.clone().unwrap_or_else(|| address.to_string()), &connect.port)
            }
            _ => return Err("readinessProbe: the lab knows httpGet and tcpSocket only".into()),
        };
        let host: IpAddr = host.parse().map_err(|_| format!("readinessProbe: host {host:?} is not an address"))?;
        let port =
            port_of(container, port).ok_or("readinessProbe: the port is neither a number nor a container port")?;
        let seconds = |value: Option<i32>, default: u64| {
            Duration::from_secs(value.and_then(|v| v.try_into().ok()).filter(|v| *v > 0).unwrap_or(default))
        };
        Ok(Some(Readiness {
            action,
            to: SocketAddr::new(host, port),
            initial_delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10),
            timeout: seconds(probe.timeout_seconds, 1),
            failures: probe.failure_threshold.filter(|n| *n > 0).unwrap_or(3),
            successes: probe.success_threshold.filter(|n| *n > 0).unwrap_or(1),
        }))
    }

    /// Probes for ever, and says so whenever the answer has changed.
    pub(crate) async fn watch(&self, node: &NetNs, mut changed: impl FnMut(bool)) {
        tokio::time::sleep(self.initial_delay).await;
        let (mut ready, mut ever, mut streak) = (false, false, 0);
        loop {
            let passed = matches!(tokio::time::timeout(self.timeout, self.once(node)).await, Ok(Ok(true)));
            streak = if passed == ready { 0 } else { streak + 1 };
            if streak >= if passed { self.successes } else { self.failures } {
                (ready, streak) = (passed, 0);
                ever |= ready;
                changed(ready);
            }
            tokio::time::sleep(if ever { self.period } else { EAGER.min(self.period) }).await;
        }
    }

    async fn once(&self, node: &NetNs) -> io::Result<bool> {
        let to = self.to;
        // A socket belongs to the namespace that it was made in; connecting can be done from anywhere.
        let socket = node.run(|| if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() });
        let mut stream = socket?.connect(to).await?;
        let Action::Get { path, host } = &self.action else { return Ok(true) };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}:{}\r\nUser-Agent: kube-probe/netpol-lab\r\nAccept: */*\r\nConnection: close\r\n\r\n",
            to.port()
        );
        stream.write_all(request.as_bytes()).await?;
        // To its end, or the server would be reset while it writes.
        let mut answer = Vec::new();
        stream.take(LONGEST_ANSWER).read_to_end(&mut answer).await?;
        // "HTTP/1.1 200": success is 200–399.
        Ok(answer.starts_with(b"HTTP/1.") && matches!(answer.get(9), Some(b'2' | b'3')))
    }
}

fn port_of(container: &Container, port: &IntOrString) -> Option<u16> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => match name.parse() {
            Ok(number) => number,
            Err(_) => {
                let named = container.ports.iter().flatten().find(|port| port.name.as_ref() == Some(name))?;
                named.container_port
            }
        },
    };
    u16::try_from(number).ok().filter(|port| *port != 0)
}
