//! What steps do to objects: apply, delete, patch; by kind, as a suite names them.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::Status;
use kube::discovery::ApiResource;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::Value;
use thiserror::Error;

use super::persist;
use super::persist::may_pass;

/// Why a step's action on an object failed.
#[derive(Debug, Error)]
pub enum ObjectError {
    /// The kind is not one that steps may touch.
    #[error("steps cannot touch objects of kind '{kind}': use one of Namespace, NetworkPolicy, Pod")]
    Kind {
        /// The kind.
        kind: String,
    },
    /// What stands under `apply` is not an object.
    #[error("not a Kubernetes object: {0}")]
    Malformed(serde_json::Error),
    /// The API server said no, or nothing.
    #[error("{verb} {kind} {name}: {cause}; look at: kubectl {paste}")]
    Api {
        /// What was tried.
        verb: &'static str,
        /// On which kind.
        kind: String,
        /// On which object.
        name: String,
        /// The server's answer.
        cause: Box<kube::Error>,
        /// A command that shows the object.
        paste: String,
    },
    /// The API server accepted what it must refuse.
    #[error("{kind} {name} was accepted; the API must refuse it with {cause} at {field}")]
    Accepted {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Where the error lies.
        field: String,
        /// The cause that was expected.
        cause: String,
    },
    /// The API server refused it for another reason than the one expected.
    #[error("{kind} {name} was refused, but not with {cause} at {field}: {answer}")]
    OtherCause {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Where the error lies.
        field: String,
        /// The cause that was expected.
        cause: String,
        /// What the server said.
        answer: String,
    },
}

impl ObjectError {
    /// Whether it is the API server's wrong answer, and not a missing one.
    pub fn is_verdict(&self) -> bool {
        matches!(self, ObjectError::Accepted { .. } | ObjectError::OtherCause { .. })
    }
}

/// Objects of a cluster, by kind.
#[derive(Clone)]
pub struct Objects {
    client: Client,
}

impl Objects {
    /// Works with this client.
    pub fn new(client: Client) -> Self {
        Objects { client }
    }

    fn api(&self, kind: &str, namespace: Option<&str>) -> Result<Api<DynamicObject>, ObjectError> {
        let (resource, namespaced) = match kind {
            "Namespace" => (ApiResource::erase::<Namespace>(&()), false),
            "NetworkPolicy" => (ApiResource::erase::<NetworkPolicy>(&()), true),
            "Pod" => (ApiResource::erase::<Pod>(&()), true),
            "Service" => (ApiResource::erase::<Service>(&()), true),
            _ => return Err(ObjectError::Kind { kind: kind.to_owned() }),
        };
        Ok(match namespace.filter(|_| namespaced) {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        })
    }

    /// Whether the API server hands out a namespace, which it has to look up, within this time.
    pub async fn answers(&self, namespace: &str, within: Duration) -> bool {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        match tokio::time::timeout(within, namespaces.get(namespace)).await {
            Ok(Ok(_)) => true,
            // A refusal is an answer.
            Ok(Err(error)) => !may_pass(&error),
            Err(_) => false,
        }
    }

    /// Creates the object, or replaces the one of its name.
    ///
    /// # Errors
    /// [`ObjectError`]
    pub async fn apply(&self, object: &Value) -> Result<(), ObjectError> {
        let target = Target::of(object)?;
        let api = self.api(&target.kind, target.namespace.as_deref())?;
        let params = PostParams::default();
        match persist(|| api.create(&params, &target.object)).await {
            // Also where the first attempt's answer was lost.
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
                let existing = persist(|| api.get(&target.name)).await.map_err(|cause| target.failed("get", cause))?;
                let mut object = target.object.clone();
                object.meta_mut().resource_version = existing.resource_version();
                match persist(|| api.replace(&target.name, &params, &object)).await {
                    // A first attempt may have been carried out, and only its answer lost.
                    Err(kube::Error::Api(status)) if status.code == 409 => {
                        object.meta_mut().resource_version = None;
                        let replaced = api.replace(&target.name, &params, &object).await;
                        replaced.map(drop).map_err(|cause| target.failed("replace", cause))
                    }
                    replaced => replaced.map(drop).map_err(|cause| target.failed("replace", cause)),
                }
            }
            other => other.map(drop).map_err(|cause| target.failed("create", cause)),
        }
    }

    /// Creates an object that must be refused with this cause at this field.
    ///
    /// # Errors
    /// [`ObjectError::Accepted`] and [`ObjectError::OtherCause`] where the API server does otherwise.
    pub async fn must_be_rejected(&self, object: &Value, field: &str, cause: &str) -> Result<(), ObjectError> {
        let target = Target::of(object)?;
        let api = self.api(&target.kind, target.namespace.as_deref())?;
        let (kind, name) = (target.kind.clone(), target.name.clone());
        let (field, cause) = (field.to_owned(), cause.to_owned());
        let params = PostParams::default();
        match persist(|| api.create(&params, &target.object)).await {
            Ok(_) => Err(ObjectError::Accepted { kind, name, field, cause }),
            Err(kube::Error::Api(status)) if names_cause(&status, &field, &cause) => Ok(()),
            Err(kube::Error::Api(status)) => {
                Err(ObjectError::OtherCause { kind, name, field, cause, answer: status.message.clone() })
            }
            Err(error) => Err(target.failed("create", error)),
        }
    }

    /// An object as it is now.
    ///
    /// # Errors
    /// [`ObjectError`]
    pub async fn get(&self, kind: &str, name: &str, namespace: Option<&str>) -> Result<Value, ObjectError> {
        let api = self.api(kind, namespace)?;
        let found = persist(|| api.get(name)).await.map_err(|cause| failed("get", kind, name, namespace, cause))?;
        serde_json::to_value(found).map_err(ObjectError::Malformed)
    }

    /// Deletes an object; one that is gone already is no error.
    ///
    /// # Errors
    /// [`ObjectError`]
    pub async fn delete(&self, kind: &str, name: &str, namespace: Option<&str>) -> Result<(), ObjectError> {
        let api = self.api(kind, namespace)?;
        let params = DeleteParams::default();
        match persist(|| api.delete(name, &params)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other.map(drop).map_err(|cause| failed("delete", kind, name, namespace, cause)),
        }
    }

    /// Patches an object by JSON merge patch.
    ///
    /// # Errors
    /// [`ObjectError`]
    pub async fn patch(
        &self,
        kind: &str,
        name: &str,
        namespace: Option<&str>,
        patch: &Value,
    ) -> Result<(), ObjectError> {
        let api = self.api(kind, namespace)?;
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let patched = persist(|| api.patch(name, &params, &patch)).await;
        patched.map(drop).map_err(|cause| failed("patch", kind, name, namespace, cause))
    }
}

/// An object with what addresses it.
struct Target {
    kind: String,
    name: String,
    namespace: Option<String>,
    object: DynamicObject,
}

impl Target {
    fn of(object: &Value) -> Result<Self, ObjectError> {
        let object: DynamicObject = serde_json::from_value(object.clone()).map_err(ObjectError::Malformed)?;
        let kind = object.types.as_ref().map(|types| types.kind.clone()).unwrap_or_default();
        Ok(Target { kind, name: object.name_any(), namespace: object.namespace(), object })
    }

    fn failed(&self, verb: &'static str, cause: kube::Error) -> ObjectError {
        failed(verb, &self.kind, &self.name, self.namespace.as_deref(), cause)
    }
}

fn failed(verb: &'static str, kind: &str, name: &str, namespace: Option<&str>, cause: kube::Error) -> ObjectError {
    let place = namespace.map(|namespace| format!(" -n {namespace}")).unwrap_or_default();
    let paste = format!("get {} {name}{place} -o yaml", kind.to_lowercase());
    ObjectError::Api { verb, kind: kind.to_owned(), name: name.to_owned(), cause: Box::new(cause), paste }
}

/// Whether a refusal holds this cause at this field: never the wording, never the count.
fn names_cause(status: &Status, field: &str, cause: &str) -> bool {
    let causes = status.details.iter().flat_map(|details| details.causes.iter());
    causes.into_iter().any(|found| found.reason == cause && found.field.ends_with(field))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_api_server_that_is_silent_or_busy_does_not_answer_and_one_that_refuses_does() {
        for (status, answers) in
            [(None, false), (Some("503 Service Unavailable"), false), (Some("403 Forbidden"), true)]
        {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = format!("http://{}", listener.local_addr().unwrap());
            let server = tokio::spawn(async move {
                let (mut connection, _) = listener.accept().await.unwrap();
                assert!(connection.read(&mut [0; 4096]).await.unwrap() > 0);
                if let Some(status) = status {
                    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}");
                    connection.write_all(answer.as_bytes()).await.unwrap();
                }
                std::future::pending::<()>().await;
            });
            let client = Client::try_from(kube::Config::new(address.parse().unwrap())).unwrap();
            assert_eq!(Objects::new(client).answers("x", Duration::from_secs(1)).await, answers, "{status:?}");
            server.abort();
        }
    }
}
