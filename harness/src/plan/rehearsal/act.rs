//! One action, carried out on the oracle's cluster and bound to real names and addresses.

use k8s_openapi::api::networking::v1::NetworkPolicy;
use netpol_oracle as oracle;
use serde_json::Value;

use super::super::names::real_names;
use super::super::placeholder::bind;
use super::super::specification::{place, pod_name, put};
use super::super::{Action, Bindings, BoundPod, PodRef};
use super::Rehearsal;
use crate::Problem;

impl Rehearsal {
    /// Carries out one action; `path` is its place in the suite. Gives it as it is to be sent.
    pub(super) fn act(&mut self, action: &Action, path: &str) -> Result<Action, Vec<Problem>> {
        let namespaces = self.bindings.namespaces.clone();
        let real = |namespace: &Option<String>| {
            namespace.as_ref().map(|logical| namespaces.get(logical).unwrap_or(logical).clone())
        };
        match action {
            Action::Apply(object) => {
                let (logical, bound) = self.bind(object, path)?;
                self.put_policy(logical, path)?;
                Ok(Action::Apply(bound))
            }
            Action::Rejected { object, field, cause } => {
                let (logical, bound) = self.bind(object, path)?;
                self.refuses(logical, field, cause, path)?;
                Ok(Action::Rejected { object: bound, field: field.clone(), cause: cause.clone() })
            }
            Action::Delete { kind, name, namespace } => {
                let key = (namespace.clone().unwrap_or_default(), name.clone());
                if self.policies.remove(&key).is_none() {
                    let what = format!("there is no {kind} {}/{} to delete at this step", key.0, key.1);
                    return Err(vec![self.problem(path, what, "name one that an earlier step applied")]);
                }
                self.respecify(path, None)?;
                Ok(Action::Delete { kind: kind.clone(), name: name.clone(), namespace: real(namespace) })
            }
            Action::Patch { kind, name, namespace, patch } => {
                let (logical, bound) = self.bind(patch, &format!("{path}.patch"))?;
                self.patch(kind, name, namespace.as_deref(), &logical, path)?;
                // A namespace is its own name; what it is called really is known by its logical name.
                let name = if kind == "Namespace" { namespaces.get(name).unwrap_or(name) } else { name };
                Ok(Action::Patch { kind: kind.clone(), name: name.clone(), namespace: real(namespace), patch: bound })
            }
            Action::Recreate(pods) => {
                for pod in pods {
                    // Labels are those of the manifest again.
                    if place(&mut self.cluster, &self.topology, pod, &self.bindings).is_none() {
                        let what = format!("pod {pod} cannot be created again: it has no manifest or no address");
                        return Err(vec![self.problem(path, what, "name a pod of the topology")]);
                    }
                }
                self.respecify(path, None)?;
                Ok(action.clone())
            }
            Action::Create(pods) => {
                for pod in pods {
                    let there = self.cluster.pods.contains_key(&pod_name(pod));
                    // Where it is going to run is known when it does; until then it has no address.
                    let nowhere = BoundPod { ips: Vec::new(), node: String::new(), node_ips: Vec::new() };
                    let bound = self.bindings.pods.get(pod).unwrap_or(&nowhere);
                    if there || put(&mut self.cluster, &self.topology, pod, bound).is_none() {
                        let what = format!("pod {pod} cannot be created at this step: it is there, or has no manifest");
                        return Err(vec![self.problem(path, what, "create pods that are `later` or were removed")]);
                    }
                }
                self.respecify(path, None)?;
                Ok(action.clone())
            }
            Action::Remove(pods) | Action::Complete(pods) => {
                self.present(pods, path)?;
                for pod in pods {
                    self.cluster.pods.remove(&pod_name(pod));
                }
                self.respecify(path, None)?;
                Ok(action.clone())
            }
            // What is being deleted and what was restarted in place is still the same pod.
            Action::Terminate(pods) | Action::RestartPods(pods) => {
                self.present(pods, path)?;
                Ok(action.clone())
            }
            Action::RestartEnforcer | Action::Wait(_) => Ok(action.clone()),
        }
    }

    fn present(&self, pods: &[PodRef], path: &str) -> Result<(), Vec<Problem>> {
        let absent = pods.iter().filter(|pod| !self.cluster.pods.contains_key(&pod_name(pod)));
        let remedy = "name pods that are there, or create them earlier";
        let problems: Vec<_> =
            absent.map(|pod| self.problem(path, format!("pod {pod} is not there at this step"), remedy)).collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// The value without placeholders: for the oracle with logical names, and for the cluster with real ones.
    fn bind(&self, value: &Value, path: &str) -> Result<(Value, Value), Vec<Problem>> {
        let bound_with = |bindings: &Bindings| {
            bind(value, path, &self.topology, bindings).map_err(|wrong| {
                let problem = |(place, what): (String, String)| {
                    self.problem(&place, what, "name a pod or namespace of the suite's topology")
                };
                wrong.into_iter().map(problem).collect::<Vec<_>>()
            })
        };
        let mut logical_bindings = self.bindings.clone();
        logical_bindings.namespaces.iter_mut().for_each(|(logical, real)| logical.clone_into(real));
        let (logical, real) = (bound_with(&logical_bindings)?, bound_with(&self.bindings)?);
        Ok((logical, real_names(&real, &self.bindings.namespaces)))
    }

    fn put_policy(&mut self, object: Value, path: &str) -> Result<(), Vec<Problem>> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = (text("/metadata/namespace"), text("/metadata/name"));
        let before = self.policies.insert(key.clone(), object);
        let changed = self.respecify(path, Some(&key));
        if changed.is_err() {
            match before {
                Some(before) => self.policies.insert(key, before),
                None => self.policies.remove(&key),
            };
        }
        changed
    }

    fn patch(
        &mut self,
        kind: &str,
        name: &str,
        namespace: Option<&str>,
        patch: &Value,
        path: &str,
    ) -> Result<(), Vec<Problem>> {
        let absent = || {
            vec![self.problem(
                path,
                format!("there is no {kind} {name} to change at this step"),
                "name one that is there",
            )]
        };
        let namespace = namespace.unwrap_or_default().to_owned();
        let labels = match kind {
            "NetworkPolicy" => {
                let mut object = self.policies.get(&(namespace, name.to_owned())).cloned().ok_or_else(absent)?;
                json_patch::merge(&mut object, patch);
                return self.put_policy(object, path);
            }
            "Pod" => {
                let pod = oracle::PodName { namespace, name: name.to_owned() };
                if !self.cluster.pods.contains_key(&pod) {
                    return Err(absent());
                }
                self.cluster.pods.get_mut(&pod).map(|pod| &mut pod.labels)
            }
            _ => {
                if !self.cluster.namespaces.contains_key(name) {
                    return Err(absent());
                }
                self.cluster.namespaces.get_mut(name).map(|namespace| &mut namespace.labels)
            }
        };
        let changes = patch.pointer("/metadata/labels").and_then(Value::as_object);
        if let Some(labels) = labels {
            for (key, value) in changes.into_iter().flatten() {
                match value.as_str() {
                    Some(value) => drop(labels.insert(key.clone(), value.to_owned())),
                    None => drop(labels.remove(key)),
                }
            }
        }
        self.respecify(path, None)
    }

    /// Compiles the policies anew. What is wrong with the one of this key has its place within the document at `path`.
    fn respecify(&mut self, path: &str, key: Option<&(String, String)>) -> Result<(), Vec<Problem>> {
        let policies = self.decode_policies(path, key)?;
        let cluster = oracle::Cluster { policies, ..self.cluster.clone() };
        let specification = oracle::Specification::new(&cluster);
        self.specification = specification.map_err(|found| {
            let problem = |invalid: &oracle::InvalidPolicy| {
                let rule = invalid.rule.map(|rule| format!(" ({rule}, {})", invalid.cause)).unwrap_or_default();
                let place = format!("{path}.{}", invalid.field);
                self.problem(&place, format!("{}{rule}", invalid.what), "correct it, or say `rejected:` if it is meant")
            };
            found.iter().map(problem).collect::<Vec<_>>()
        })?;
        self.cluster = cluster;
        Ok(())
    }

    fn decode_policies(&self, path: &str, key: Option<&(String, String)>) -> Result<Vec<NetworkPolicy>, Vec<Problem>> {
        let mut policies = Vec::new();
        for (name, object) in &self.policies {
            match serde_json::from_value(object.clone()) {
                Ok(policy) => policies.push(policy),
                Err(error) => {
                    let which = if key == Some(name) { String::new() } else { format!(" ({}/{})", name.0, name.1) };
                    return Err(vec![self.problem(path, format!("{error}{which}"), "write a NetworkPolicy")]);
                }
            }
        }
        Ok(policies)
    }

    /// Holds a policy that must be refused against the oracle's validation.
    fn refuses(&self, object: Value, field: &str, cause: &str, path: &str) -> Result<(), Vec<Problem>> {
        let decoded: Result<NetworkPolicy, _> = serde_json::from_value(object);
        let policy = decoded.map_err(|error| vec![self.problem(path, error.to_string(), "write a NetworkPolicy")])?;
        let alone = oracle::Cluster { policies: vec![policy], ..self.cluster.clone() };
        let found = oracle::Specification::new(&alone).err().unwrap_or_default();
        if found.iter().any(|invalid| invalid.field == field && invalid.cause.to_string() == cause) {
            return Ok(());
        }
        let found: Vec<String> =
            found.iter().map(|invalid| format!("{} at {}", invalid.cause, invalid.field)).collect();
        let found = if found.is_empty() { "nothing wrong with it".to_owned() } else { found.join(", ") };
        let what = format!("the suite says that this is refused with {cause} at {field}; the oracle finds {found}");
        Err(vec![self.problem(path, what, "suite or oracle is wrong: correct that one")])
    }
}
