//! What a probe or a hook does: an HTTP request, a connection, or a command in the container.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::super::execute::execute;
use super::super::registry::RunningPod;

/// Bytes of an answer that are read, as in Kubernetes.
const LONGEST_ANSWER: u64 = 10 * 1024;

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Action {
    /// GET by plain HTTP; 200 to 399 is success.
    Get { host: Option<IpAddr>, port: u16, path: String, headers: Vec<(String, String)> },
    /// A TCP connection that is accepted.
    Connect { host: Option<IpAddr>, port: u16 },
    /// A command in the container that exits with 0.
    Execute(Vec<String>),
}

/// For whom and how long.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Attempt<'a> {
    pub(in super::super) pod: &'a Arc<RunningPod>,
    /// Index of the container.
    pub(in super::super) container: usize,
    /// The User-Agent of requests.
    pub(in super::super) agent: &'static str,
    pub(in super::super) timeout: Duration,
}

impl Action {
    /// Reads the one action that is given.
    ///
    /// # Errors
    /// A sentence about what the lab cannot do.
    pub(in super::super) fn of(
        get: &Option<HTTPGetAction>,
        connect: &Option<TCPSocketAction>,
        exec: &Option<ExecAction>,
        container: &Container,
    ) -> Result<Action, String> {
        match (get, connect, exec) {
            (Some(get), ..) => {
                if let Some(scheme) = get.scheme.as_deref().filter(|scheme| *scheme != "HTTP") {
                    return Err(format!("scheme {scheme} is not supported by the lab: it probes by plain HTTP"));
                }
                let path = get.path.clone().filter(|path| !path.is_empty()).unwrap_or_else(|| "/".into());
                let path = if path.starts_with('/') { path } else { format!("/{path}") };
                let headers = get.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone())).collect();
                Ok(Action::Get { host: host(&get.host)?, port: port(container, &get.port)?, path, headers })
            }
            (_, Some(connect), _) => {
                Ok(Action::Connect { host: host(&connect.host)?, port: port(container, &connect.port)? })
            }
            (.., Some(exec)) => match exec.command.as_deref() {
                Some(command @ [_, ..]) => Ok(Action::Execute(command.to_vec())),
                _ => Err("exec.command is empty".into()),
            },
            _ => Err("it names no action".into()),
        }
    }

    /// Does it once.
    ///
    /// # Errors
    /// Why it failed, as the kubelet's events say it.
    pub(in super::super) async fn run(&self, attempt: &Attempt<'_>) -> Result<(), String> {
        let limit = attempt.timeout;
        let address = |host: Option<IpAddr>| host.unwrap_or(attempt.pod.address);
        match self {
            Action::Execute(command) => execute(attempt.pod, attempt.container, command, limit).await,
            Action::Connect { host, port } => {
                let to = SocketAddr::new(address(*host), *port);
                let connecting = tokio::time::timeout(limit, connect(attempt.pod, to));
                let failed = |problem: String| format!("dial tcp {to}: {problem}");
                connecting.await.map_err(|_| failed("i/o timeout".into()))?.map_err(|e| failed(e.to_string())).map(drop)
            }
            Action::Get { host, port, path, headers } => {
                let to = SocketAddr::new(address(*host), *port);
                let failed = |problem: String| format!("Get \"http://{to}{path}\": {problem}");
                let asking = async {
                    let mut request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n");
                    let given = |name: &str| headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
                    for (name, value) in
                        [("Host", to.to_string().as_str()), ("User-Agent", attempt.agent), ("Accept", "*/*")]
                    {
                        if !given(name) {
                            request += &format!("{name}: {value}\r\n");
                        }
                    }
                    for (name, value) in headers {
                        request += &format!("{name}: {value}\r\n");
                    }
                    request += "\r\n";
                    ask(connect(attempt.pod, to).await?, &request).await
                };
                let answered = tokio::time::timeout(limit, asking).await;
                let code = answered
                    .map_err(|_| failed("context deadline exceeded".into()))?
                    .map_err(|e| failed(e.to_string()))?;
                if (200..400).contains(&code) {
                    Ok(())
                } else {
                    Err(format!("HTTP probe failed with statuscode: {code}"))
                }
            }
        }
    }
}

/// Connects from the node.
async fn connect(pod: &RunningPod, to: SocketAddr) -> io::Result<TcpStream> {
    // A socket belongs to the namespace that it was made in; connecting can be done from anywhere.
    let socket = pod.node.netns.run(|| if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() });
    socket?.connect(to).await
}

/// Sends a request and reads the status code of the answer.
async fn ask(mut stream: TcpStream, request: &str) -> io::Result<u16> {
    stream.write_all(request.as_bytes()).await?;
    // To its end, or the server would be reset while it writes.
    let mut answer = Vec::new();
    stream.take(LONGEST_ANSWER).read_to_end(&mut answer).await?;
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let code = std::str::from_utf8(line).ok().filter(|line| line.starts_with("HTTP/1.")).and_then(|line| {
        let (_, rest) = line.split_once(' ')?;
        rest.get(..3)?.parse().ok()
    });
    code.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
}

fn host(host: &Option<String>) -> Result<Option<IpAddr>, String> {
    let given = host.as_deref().filter(|host| !host.is_empty());
    given.map(|host| host.parse().map_err(|_| format!("host {host:?} is not an address"))).transpose()
}

fn port(container: &Container, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => name.parse().ok().or_else(|| {
            container
                .ports
                .iter()
                .flatten()
                .find(|port| port.name.as_ref() == Some(name))
                .map(|port| port.container_port)
        }),
    };
    let valid = number.and_then(|number| u16::try_from(number).ok()).filter(|port| *port != 0);
    valid.ok_or_else(|| "the port is neither a number from 1 to 65535 nor the name of a container port".into())
}
