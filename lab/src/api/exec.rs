//! `pods/exec` over WebSocket, subprotocols `v5.channel.k8s.io` and `v4.channel.k8s.io`: the first byte of a message
//! is its channel. SPDY is refused by name; kubectl has spoken WebSocket since 1.30.

use std::pin::Pin;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::header::UPGRADE;
use axum::http::request::Parts;
use axum::response::Response;
use futures::future::{join, join_all};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::logs::{container_of, refusal};
use super::parameters::Parameters;
use super::resources::POD;
use super::routes::Target;
use super::runtime::{ExecRequest, ExecSession, TerminalSize};
use super::server::Server;
use super::status::Status;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// v5 only: `[255, channel]` ends a channel.
const END: u8 = 255;

const V5: &str = "v5.channel.k8s.io";
const V4: &str = "v4.channel.k8s.io";

/// Largest message that is sent, in bytes, its channel byte included; and how much is read at a time.
const CHUNK: usize = 32 << 10;
/// How long output may stay silent after the process has ended, before what still holds it open is given up.
const DRAIN: Duration = Duration::from_secs(1);
/// How long the client may take to answer the Close frame.
const FAREWELL: Duration = Duration::from_secs(2);

/// Upgrades to WebSocket and runs the command.
///
/// # Errors
/// 404 for the pod, 400 for an unknown container, a missing command, or a request that is no WebSocket upgrade.
pub(crate) async fn answer(
    server: &Server,
    target: &Target<'_>,
    parameters: &Parameters,
    parts: &mut Parts,
) -> Result<Response, Status> {
    let name = target.name.unwrap_or_default();
    let pod = server.store.get(POD, target.home(), name)?;
    let container = container_of(pod.value(), name, parameters.text("container").or(first_container(pod.value())))?;
    let command = parameters.all("command");
    if command.is_empty() {
        return Err(Status::bad_request("you must specify at least 1 command for the container"));
    }
    if let Some(phase @ ("Succeeded" | "Failed")) = pod.value()["status"]["phase"].as_str() {
        let message = format!("cannot exec into a container in a completed pod; current phase is {phase}");
        return Err(Status::bad_request(message));
    }
    let tty = parameters.flag("tty");
    let request = ExecRequest {
        namespace: target.home().to_owned(),
        pod: name.to_owned(),
        container,
        command,
        tty,
        stdin: parameters.flag("stdin"),
        stdout: parameters.flag("stdout"),
        stderr: parameters.flag("stderr") && !tty,
    };
    if !(request.stdin || request.stdout || request.stderr) {
        return Err(Status::bad_request("you must specify at least one of stdin, stdout, stderr"));
    }
    let upgrade = parts.headers.get(UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !upgrade.eq_ignore_ascii_case("websocket") {
        let asked = if upgrade.is_empty() { "no upgrade" } else { upgrade };
        let message =
            format!("exec is served over WebSocket only ({V5}, {V4}), not over {asked}: use kubectl 1.30 or newer");
        return Err(Status::bad_request(message));
    }
    let upgrade = WebSocketUpgrade::from_request_parts(parts, &())
        .await
        .map_err(|rejection| Status::bad_request(format!("not a WebSocket upgrade: {rejection}")))?;
    // Every read clears the whole buffer first; the default is 128 KiB, for the few lines that come at a time.
    let upgrade = upgrade.protocols([V5, V4]).read_buffer_size(CHUNK);
    let Some(protocol) = upgrade.selected_protocol().cloned() else {
        return Err(Status::bad_request(format!(
            "none of the offered WebSocket subprotocols is served: use {V5} or {V4}"
        )));
    };
    let runtime = std::sync::Arc::clone(&server.runtime);
    let half_close = protocol == V5;
    Ok(upgrade.on_upgrade(move |socket| async move {
        let (mut sink, mut source) = socket.split();
        // As the real server does: an empty message tells the client that the connection stands.
        let first = if request.stdout {
            STDOUT
        } else if request.stderr {
            STDERR
        } else {
            ERROR
        };
        if first != ERROR && sink.send(message(first, &[])).await.is_err() {
            return;
        }
        let command = request.command.clone();
        let ending = match runtime.exec(request).await {
            Ok(session) => relay(&mut sink, &mut source, session, half_close).await.map(|code| outcome(&command, code)),
            Err(error) => Some(refusal(error).to_value()),
        };
        // None: the client is gone, and the process with it.
        if let Some(status) = ending {
            farewell(sink, source, &status).await;
        }
    }))
}

fn first_container(pod: &Value) -> Option<&str> {
    pod["spec"]["containers"][0]["name"].as_str()
}

fn message(channel: u8, data: &[u8]) -> Message {
    let mut bytes = Vec::with_capacity(data.len() + 1);
    bytes.push(channel);
    bytes.extend_from_slice(data);
    Message::Binary(bytes.into())
}

type Ended = Result<i32, super::runtime::RuntimeError>;

/// The Status that the error channel carries when a process has ended.
fn outcome(command: &[String], ended: Ended) -> Value {
    match ended {
        Ok(0) => json!({ "metadata": {}, "status": "Success" }),
        Ok(code) => json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: {command:?} exited with {code}"),
            "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
        }),
        Err(error) => refusal(error).to_value(),
    }
}

/// Moves bytes until the process has ended and its output is drained, or the client is gone (`None`).
async fn relay(
    sink: &mut SplitSink<WebSocket, Message>,
    source: &mut SplitStream<WebSocket>,
    session: ExecSession,
    half_close: bool,
) -> Option<Ended> {
    let ExecSession { stdin, stdout, stderr, resize, exit, kill_on_drop } = session;
    // A bounded queue: a client that does not read stops the process's writes.
    let (out, mut outgoing) = mpsc::channel::<Message>(4);
    let (exited, _) = tokio::sync::watch::channel(false);
    let pumps: Vec<_> = [(STDOUT, stdout), (STDERR, stderr)]
        .into_iter()
        .filter_map(|(channel, stream)| Some(pump(channel, stream?, out.clone(), exited.subscribe())))
        .collect();
    let pumps = join_all(pumps);
    drop(out);

    let writer = async {
        while let Some(message) = outgoing.recv().await {
            if sink.send(message).await.is_err() {
                return false;
            }
        }
        true
    };
    let process = async {
        let mut drained = std::pin::pin!(join(pumps, writer));
        let mut exit = exit;
        tokio::select! {
            (_, sent) = drained.as_mut() => if sent { Some(exit.await) } else { None },
            ended = &mut exit => {
                exited.send_replace(true);
                let (_, sent) = drained.await;
                sent.then_some(ended)
            }
        }
    };
    let result = tokio::select! {
        result = process => result,
        () = receive(source, stdin, resize, half_close) => None,
    };
    drop(kill_on_drop);
    result
}

/// Reads a stream of the process to its end; or, once the process has exited, until nothing came for a while although
/// something, such as a grandchild, holds the pipe open.
async fn pump(
    channel: u8,
    mut stream: Pin<Box<dyn AsyncRead + Send>>,
    out: mpsc::Sender<Message>,
    mut exited: tokio::sync::watch::Receiver<bool>,
) {
    let mut buffer = vec![0; CHUNK - 1];
    loop {
        let read = if *exited.borrow() {
            timeout(DRAIN, stream.read(&mut buffer)).await.unwrap_or(Ok(0))
        } else {
            tokio::select! {
                read = stream.read(&mut buffer) => read,
                _ = exited.changed() => continue,
            }
        };
        // A terminal whose other end is closed answers EIO: that is its end of file.
        let Ok(length @ 1..) = read else { return };
        if out.send(message(channel, &buffer[..length])).await.is_err() {
            return;
        }
    }
}

/// Takes the client's messages until it closes the connection or vanishes.
async fn receive(
    source: &mut SplitStream<WebSocket>,
    mut stdin: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    resize: Option<mpsc::UnboundedSender<TerminalSize>>,
    half_close: bool,
) {
    while let Some(Ok(message)) = source.next().await {
        let data: Bytes = match message {
            Message::Binary(data) => data,
            Message::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            Message::Ping(_) | Message::Pong(_) => continue,
            Message::Close(_) => return,
        };
        match data.first() {
            Some(&STDIN) => {
                let Some(pipe) = stdin.as_mut() else { continue };
                let written = async {
                    pipe.write_all(&data[1..]).await?;
                    pipe.flush().await
                };
                // A process that has closed its input may still run on; further input is dropped.
                if written.await.is_err() {
                    stdin = None;
                }
            }
            Some(&END) if half_close && data.get(1) == Some(&STDIN) => {
                if let Some(mut pipe) = stdin.take() {
                    let _ = pipe.shutdown().await;
                }
            }
            Some(&RESIZE) => {
                if let (Some(resize), Ok(size)) = (&resize, serde_json::from_slice::<Size>(&data[1..])) {
                    let _ = resize.send(TerminalSize { width: size.width, height: size.height });
                }
            }
            _ => {}
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

/// Says how it ended, closes with code 1000 (clients take anything else for a fault) and waits for the answer.
async fn farewell(mut sink: SplitSink<WebSocket, Message>, mut source: SplitStream<WebSocket>, status: &Value) {
    let close = Message::Close(Some(CloseFrame { code: 1000, reason: "".into() }));
    let text = status.to_string();
    let sent = async {
        sink.send(message(ERROR, text.as_bytes())).await?;
        sink.send(close).await
    };
    if sent.await.is_ok() {
        let _ = timeout(FAREWELL, async { while let Some(Ok(_)) = source.next().await {} }).await;
    }
}
