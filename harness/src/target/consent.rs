//! On a cluster that we did not make, what will be created is said first.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use kube::Client;
use kube::config::Kubeconfig;

use super::kind;
use crate::cli::RunArgs;
use crate::cluster::connect;

/// Whether a run may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consent {
    /// It was given, or is not needed: the cluster is ours.
    Given,
    /// It was not; the reason, with the remedy.
    Refused(String),
}

/// Says what a run would create in the cluster, and asks. A cluster that we made, or that does not answer, is not asked about: what
/// is wrong with the latter is said by whoever needs it.
pub async fn consent(file: &Path, context: Option<&str>, image: &str, args: &RunArgs) -> Consent {
    let Ok(client) = connect(file, context).await else { return Consent::Given };
    let Ok(version) = client.apiserver_version().await else { return Consent::Given };
    if is_ours(&client).await {
        return Consent::Given;
    }
    eprintln!("{}", announcement(file, context, &client, &version.git_version, image, args));
    if !std::io::stdin().is_terminal() {
        return Consent::Refused("nobody can be asked here; to agree beforehand: --yes".into());
    }
    eprint!("Go on? [y/N] ");
    std::io::stderr().flush().ok();
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).ok();
    match answer.trim() {
        "y" | "Y" | "yes" => Consent::Given,
        _ => Consent::Refused("not agreed to; nothing was created".into()),
    }
}

/// Whether netpol made this cluster: a lab, or a kind cluster with our record in it. One that does not answer is not ours.
pub async fn is_ours(client: &Client) -> bool {
    let lab = client.apiserver_version().await.is_ok_and(|version| version.git_version.ends_with("-netpol-lab"));
    lab || kind::is_ours(client).await
}

fn announcement(
    file: &Path,
    context: Option<&str>,
    client: &Client,
    version: &str,
    image: &str,
    args: &RunArgs,
) -> String {
    let current = || Kubeconfig::read_from(file).ok().and_then(|kubeconfig| kubeconfig.current_context);
    let context = context.map(str::to_owned).or_else(current).unwrap_or_else(|| "none".into());
    let (namespace, worlds) = (client.default_namespace(), args.lanes());
    let engine = if args.restart_engine {
        "Cases that restart the policy engine delete its pods."
    } else {
        "Cases that restart the policy engine are skipped."
    };
    format!(
        "{} (context {context}, Kubernetes {version}) is a cluster that netpol did not make.\n\
         The run will create there, up to {worlds} times at once, and remove at its end:\n\
         \x20 namespaces <name>-<run>-<world>, labelled netpol.dev/run; in them pods of the image {image}, and NetworkPolicies.\n\
         {engine} Nothing else is touched, neither {namespace} nor other namespaces.",
        file.display()
    )
}
