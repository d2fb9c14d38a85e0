//! A world: one topology's pods in namespaces of their own, with a stream to each. Cases run in worlds, beside canaries on the same nodes;
//! no cell crosses two.

mod boot;
mod canary;
mod numbering;
mod pods;
mod pool;
mod relabelled;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use thiserror::Error;

use crate::Problem;
use crate::cluster::{Cluster, ObjectError};
use crate::plan::{Bindings, BoundPod, PodRef, Topology};
use crate::probe::{Member, SessionError};
use crate::topology::needs;
use crate::waits::Wait;

pub use canary::{Canary, Followed};
use numbering::Numbering;
pub use pool::{Lease, Pool};
use relabelled::Relabelled;

/// Why a world could not be made or kept.
#[derive(Debug, Error)]
pub enum WorldError {
    /// No node takes pods.
    #[error("the cluster has no node that is Ready and takes ordinary pods; look at: kubectl get nodes -o wide")]
    NoNodes,
    /// An object could not be created or deleted.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// Something did not happen in time.
    #[error("waited {wait} for {what}; look at: kubectl {paste}")]
    Late {
        /// For what.
        what: String,
        /// How long.
        wait: Wait,
        /// A command that shows it.
        paste: String,
    },
    /// The API server stopped answering.
    #[error("{tried}: {cause}")]
    Api {
        /// What was tried.
        tried: &'static str,
        /// What came back.
        cause: Box<kube::Error>,
    },
    /// An agent cannot be reached.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Nothing that could be restarted.
    #[error(
        "the step restarts the policy engine, but this cluster runs none that we know; look at: kubectl get pods -n kube-system"
    )]
    NoEngine,
    /// A pod's placeholders have no value.
    #[error("topology: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Placeholders(Vec<Problem>),
}

/// One topology's pods, running.
pub struct World {
    /// From 1; part of the namespaces' names.
    pub number: u32,
    /// What it was made from.
    pub topology: Topology,
    /// Where its pods are.
    pub bindings: Bindings,
    /// Its pods' agents.
    pub members: BTreeMap<PodRef, Member>,
    /// Whether a case has begun here, and found every cell allowed without a policy.
    pub controlled: bool,
    /// Whether a case has changed more than can be put back: such a world is not used again.
    pub altered: bool,
    relabelled: Relabelled,
    nodes: BTreeMap<PodRef, String>,
    numbering: Numbering,
    cluster: Cluster,
}

impl World {
    /// Creates pods again under the same names; their addresses are new.
    ///
    /// # Errors
    /// [`WorldError`]
    pub async fn recreate(&mut self, pods: &[PodRef]) -> Result<(), WorldError> {
        let altered = self.altered || !self.are_replaceable(pods);
        self.remove_pods(pods).await?;
        self.create(pods).await?;
        self.altered = altered;
        Ok(())
    }

    /// Whether the world is as before once these pods are there again: they were there from the start, and nobody was told their addresses.
    fn are_replaceable(&self, pods: &[PodRef]) -> bool {
        pods.iter().all(|pod| self.members.contains_key(pod) && !self.topology.later.contains(pod))
            && self
                .topology
                .pods
                .values()
                .all(|other| needs(&self.topology, other).iter().all(|pod| !pods.contains(pod)))
    }

    /// Creates pods that are not there.
    ///
    /// # Errors
    /// [`WorldError`]
    pub async fn create(&mut self, pods: &[PodRef]) -> Result<(), WorldError> {
        self.altered = true;
        let bound = boot::start(&self.cluster, self.number, &self.topology, &self.nodes, &self.bindings, pods).await?;
        self.admit(&bound).await?;
        self.bindings.pods.extend(bound);
        Ok(())
    }

    /// Deletes pods, and waits until they are gone.
    ///
    /// # Errors
    /// [`WorldError`]
    pub async fn remove_pods(&mut self, pods: &[PodRef]) -> Result<(), WorldError> {
        for pod in pods {
            self.forget(pod);
            pods::delete_and_wait(&self.cluster, &self.namespace_of(pod), &pod.name).await?;
        }
        Ok(())
    }

    /// Deletes pods, and does not wait: they go on until their grace period ends.
    ///
    /// # Errors
    /// [`WorldError`]
    pub async fn terminate(&mut self, pods: &[PodRef]) -> Result<(), WorldError> {
        self.altered = true;
        for pod in pods {
            self.cluster.objects.delete("Pod", &pod.name, Some(&self.namespace_of(pod))).await?;
        }
        Ok(())
    }

    /// Ends the agents of pods that are not restarted, and waits until these have completed.
    ///
    /// # Errors
    /// [`WorldError`]
    pub async fn complete(&mut self, pods: &[PodRef]) -> Result<(), WorldError> {
        for pod in pods {
            if let Some(member) = self.forget(pod) {
                member.session.end().await;
            }
            pods::until(&self.cluster, &self.namespace_of(pod), &pod.name, "completed", pods::has_completed).await?;
        }
        Ok(())
    }

    /// Ends the agents of pods, and waits until they run again, in the same pods.
    ///
    /// # Errors
    /// [`WorldError`]
    pub async fn restart(&mut self, pods: &[PodRef]) -> Result<(), WorldError> {
        for pod in pods {
            let namespace = self.namespace_of(pod);
            let before = pods::restarts(&self.cluster, &namespace, &pod.name).await?;
            if let Some(member) = self.forget(pod) {
                member.session.end().await;
            }
            pods::until(&self.cluster, &namespace, &pod.name, "running again", |pod| pods::has_restarted(pod, before))
                .await?;
            let bound = self.bindings.pods.get(pod).cloned().map(|bound| (pod.clone(), bound));
            self.admit(&bound.into_iter().collect()).await?;
        }
        Ok(())
    }

    fn namespace_of(&self, pod: &PodRef) -> String {
        self.bindings.namespaces.get(&pod.namespace).cloned().unwrap_or_default()
    }

    /// Takes a pod out of the rounds.
    fn forget(&mut self, pod: &PodRef) -> Option<Member> {
        self.altered = true;
        let member = self.members.remove(pod)?;
        self.numbering.ended(pod, member.token());
        Some(member)
    }

    /// Takes pods into the rounds.
    async fn admit(&mut self, pods: &BTreeMap<PodRef, BoundPod>) -> Result<(), WorldError> {
        let members = boot::open_sessions(&self.cluster, &self.bindings, pods, &self.numbering).await?;
        self.members.extend(members);
        Ok(())
    }

    /// Deletes the policy engine's pods, as a person would: what looks after them starts new ones.
    ///
    /// # Errors
    /// [`WorldError`], also where the plugin is not one whose pods we know.
    pub async fn restart_enforcer(&self) -> Result<(), WorldError> {
        let cause = |cause| WorldError::Api { tried: "restarting the policy engine", cause: Box::new(cause) };
        let pods: Api<Pod> = Api::all(self.cluster.client.clone());
        let plugin = self.cluster.plugin.as_ref().ok_or(WorldError::NoEngine)?;
        let engine: Vec<_> = pods
            .list(&ListParams::default())
            .await
            .map_err(cause)?
            .items
            .into_iter()
            .filter(|pod| plugin.owns(&pod.name_any()))
            .collect();
        for pod in engine {
            pods::delete_and_wait(&self.cluster, &pod.namespace().unwrap_or_default(), &pod.name_any()).await?;
        }
        Ok(())
    }

    /// Starts the deletion of the world's namespaces, and does not wait for its end.
    ///
    /// # Errors
    /// [`WorldError`]
    pub async fn remove(self) -> Result<(), WorldError> {
        let World { cluster, bindings, .. } = self;
        for namespace in bindings.namespaces.values() {
            cluster.objects.delete("Namespace", namespace, None).await?;
        }
        Ok(())
    }
}
