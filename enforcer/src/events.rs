//! Tells the cluster of policies that had to be refused: a warning Event on each, for `kubectl describe networkpolicy`.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::mpsc;

use crate::world::ObjectKey;

/// The longest note that the API server takes, in bytes.
const LONGEST_NOTE: usize = 1024;
/// How often a refusal is told before it is left at the log.
const ATTEMPTS: u32 = 5;

/// A policy that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its namespace and name.
    pub policy: ObjectKey,
    /// Its UID.
    pub uid: String,
    /// The generation that was refused.
    pub generation: i64,
    /// What is wrong in it.
    pub reasons: String,
}

/// Where refusals are told.
#[derive(Clone, Debug)]
pub struct Events(mpsc::UnboundedSender<Refusal>);

impl Events {
    /// Tells what it is given in the background, one after the other, for as long as the runtime lives. Every node tells of the
    /// same policies: the Event's name is made of policy and generation, so that there is one of each in the cluster.
    pub fn start(client: Client, node: String) -> Self {
        let (sender, mut refusals) = mpsc::unbounded_channel::<Refusal>();
        tokio::spawn(async move {
            while let Some(refusal) = refusals.recv().await {
                tell(&client, &node, &refusal).await;
            }
        });
        Self(sender)
    }

    /// Tells of a refusal, soon.
    pub fn refused(&self, refusal: Refusal) {
        // The task ends with the runtime, and then nobody listens any more.
        let _ = self.0.send(refusal);
    }
}

async fn tell(client: &Client, node: &str, refusal: &Refusal) {
    let events: Api<Event> = Api::namespaced(client.clone(), &refusal.policy.namespace);
    let event = event(node, refusal);
    for attempt in 0..ATTEMPTS {
        match events.create(&PostParams::default(), &event).await {
            Ok(_) => return,
            // Another node has told, or we before a restart.
            Err(kube::Error::Api(status)) if status.code == 409 => return,
            Err(error) if attempt + 1 == ATTEMPTS => {
                tracing::warn!(policy = %refusal.policy, %error, "no Event tells that the policy is refused");
            }
            Err(_) => tokio::time::sleep(Duration::from_secs(1 << attempt)).await,
        }
    }
}

fn event(node: &str, refusal: &Refusal) -> Event {
    let Refusal { policy, uid, generation, reasons } = refusal;
    let ObjectKey { namespace, name } = policy;
    let mut note = format!("The pods that this policy selects are closed, save for what others allow: {reasons}");
    let end = (0..=LONGEST_NOTE.min(note.len())).rev().find(|end| note.is_char_boundary(*end)).unwrap_or(0);
    note.truncate(end);
    // With the UID it fits the 253 bytes of a name.
    let start: String = name.chars().take(180).collect();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{start}.{generation}.{uid}")),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(Timestamp::now())),
        type_: Some("Warning".to_owned()),
        reason: Some("PolicyRefused".to_owned()),
        action: Some("Enforcing".to_owned()),
        note: Some(note),
        regarding: Some(ObjectReference {
            api_version: Some("networking.k8s.io/v1".to_owned()),
            kind: Some("NetworkPolicy".to_owned()),
            name: Some(name.clone()),
            namespace: Some(namespace.clone()),
            uid: Some(uid.clone()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some("netpol.dev/enforcer".to_owned()),
        reporting_instance: Some(node.chars().take(128).collect()),
        ..Event::default()
    }
}
