//! On a cluster that we did not make, what will be created is said first.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use kube::Client;
use kube::config::Kubeconfig;

use super::kind::is_ours;
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
pub async fn consent(file: &Path, context: Option<&str>, image: &str, worlds: u32) -> Consent {
    let Ok(client) = connect(file, context).await else { return Consent::Given };
    let Ok(version) = client.apiserver_version().await else { return Consent::Given };
    if version.git_version.ends_with("-netpol-lab") || is_ours(&client).await {
        return Consent::Given;
    }
    eprintln!("{}", announcement(file, context, &client, &version.git_version, image, worlds));
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

fn announcement(
    file: &Path,
    context: Option<&str>,
    client: &Client,
    version: &str,
    image: &str,
    worlds: u32,
) -> String {
    let current = || Kubeconfig::read_from(file).ok().and_then(|kubeconfig| kubeconfig.current_context);
    let context = context.map(str::to_owned).or_else(current).unwrap_or_else(|| "none".into());
    let namespace = client.default_namespace();
    format!(
        "{} (context {context}, Kubernetes {version}) is a cluster that netpol did not make.\n\
         The run will create there, up to {worlds} times at once, and remove at its end:\n\
         \x20 namespaces <name>-<run>-<world>, labelled netpol.dev/run; in them pods of the image {image}, and NetworkPolicies.\n\
         Suites that restart the policy engine delete its pods. Nothing else is touched, neither {namespace} nor other namespaces.",
        file.display()
    )
}
