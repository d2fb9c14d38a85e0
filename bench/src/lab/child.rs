//! A lab that this program boots as its child, as `netpol run` does.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

/// A running lab; it ends when this is dropped.
pub(super) struct Lab {
    child: Child,
    stdin: ChildStdin,
    config: Config,
    /// From its start to its being Ready.
    pub(super) ready_after: Duration,
}

impl Lab {
    /// Boots one.
    pub(super) async fn up(arguments: &[&str]) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find netpol itself")?;
        let started = Instant::now();
        let mut child = Command::new(program)
            .args(["target", "up", "lab"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start netpol target up lab")?;
        let stdin = child.stdin.take().context("the lab has no standard input")?;
        let stdout = child.stdout.take().context("the lab has no standard output")?;
        let line = BufReader::new(stdout).lines().next_line().await?;
        let ready_after = started.elapsed();
        let line: Value = serde_json::from_str(&line.context("the lab did not become Ready")?)?;
        let file = PathBuf::from(line["kubeconfig"].as_str().context("the lab named no kubeconfig")?);
        let kubeconfig = Kubeconfig::read_from(file)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Self { child, stdin, config, ready_after })
    }

    /// A client with a connection of its own.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::try_from(self.config.clone())?)
    }

    /// Memory of the process that holds the API server, in bytes: the largest of the lab's processes.
    pub(super) fn resident(&self) -> anyhow::Result<u64> {
        let own = self.child.id().context("the lab has ended")?;
        let mut processes = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            // Processes end while they are looked at.
            if let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) {
                let number = |key: &str| {
                    let line = status.lines().find_map(|line| line.strip_prefix(key));
                    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default()
                };
                processes.push((u64::from(pid), number("PPid:"), number("VmRSS:") * 1024));
            }
        }
        let mut family = vec![u64::from(own)];
        let mut known = 0;
        while known < family.len() {
            let parent = family[known];
            family.extend(processes.iter().filter(|(_, of, _)| *of == parent).map(|(pid, ..)| *pid));
            known += 1;
        }
        let largest = processes.iter().filter(|(pid, ..)| family.contains(pid)).map(|(.., memory)| *memory).max();
        largest.context("the lab has no processes")
    }

    /// Ends it and waits until everything is gone.
    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        drop(self.stdin);
        let ended = self.child.wait().await?;
        ensure!(ended.success(), "the lab ended with {ended}");
        Ok(())
    }
}
