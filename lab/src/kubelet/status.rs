//! A pod's status as the API shows it: what is so, since when, and why it is not otherwise.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, HostIP,
    PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use super::container::{ContainerRun, Role, State, Terminated};

/// Conditions that the kubelet writes; all others are somebody else's and stay.
const OWN: [&str; 5] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// What of a pod's status is not in its containers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// Addresses of the pod's node.
    pub(crate) host_ips: Vec<IpAddr>,
    /// Addresses of the pod, once it has them; a finished pod keeps them here, although they may be another's by then.
    pub(crate) pod_ips: Vec<IpAddr>,
    /// When the kubelet took the pod.
    pub(crate) since: Option<Timestamp>,
    /// Whether the pod's network stands.
    pub(crate) sandbox: bool,
    /// Whether its init containers are done.
    pub(crate) initialized: bool,
    /// Whether the containers that have ended stay so.
    pub(crate) finished: bool,
    /// Why it failed as a whole: reason and message.
    pub(crate) failure: Option<(&'static str, String)>,
    /// Conditions that others must set before the pod is Ready.
    pub(crate) gates: Vec<String>,
}

/// The status of a pod with these containers. `present` is the status that the API has now: conditions that have not
/// changed keep their time.
pub(crate) fn status(facts: &Facts, containers: &[ContainerRun], present: &Value) -> PodStatus {
    let of = |init: bool| {
        let statuses = containers.iter().filter(|run| (run.role != Role::Main) == init).map(container_status);
        statuses.collect::<Vec<_>>()
    };
    let (init, main) = (of(true), of(false));
    let phase = phase(facts, containers);
    let ip = |addresses: &[IpAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (host_ips, pod_ips) = (ip(&facts.host_ips), ip(&facts.pod_ips));
    PodStatus {
        phase: Some(phase.into()),
        reason: facts.failure.as_ref().map(|(reason, _)| (*reason).to_owned()),
        message: facts.failure.as_ref().map(|(_, message)| message.clone()),
        host_ip: host_ips.first().cloned(),
        host_ips: Some(host_ips.into_iter().map(|ip| HostIP { ip }).collect()),
        pod_ip: pod_ips.first().cloned(),
        pod_ips: Some(pod_ips.into_iter().map(|ip| PodIP { ip }).collect()).filter(|ips: &Vec<_>| !ips.is_empty()),
        // It never changes: what the API server has computed from the resources stays.
        qos_class: present["qosClass"].as_str().map(str::to_owned),
        start_time: facts.since.map(Time),
        conditions: Some(conditions(facts, phase, containers, (&init, &main), present)),
        init_container_statuses: Some(init).filter(|list| !list.is_empty()),
        container_statuses: Some(main),
        ..PodStatus::default()
    }
}

fn conditions(
    facts: &Facts,
    phase: &str,
    containers: &[ContainerRun],
    (init, main): (&[ContainerStatus], &[ContainerStatus]),
    present: &Value,
) -> Vec<PodCondition> {
    let sidecar = |status: &&ContainerStatus| {
        containers.iter().any(|run| run.role == Role::Sidecar && run.spec.name == status.name)
    };
    let needed: Vec<&ContainerStatus> = init.iter().filter(sidecar).chain(main).collect();
    let names = |list: Vec<&ContainerStatus>| list.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(" ");
    let completed = match phase {
        "Succeeded" => Some("PodCompleted"),
        "Failed" => Some("PodFailed"),
        _ => None,
    };
    let containers_ready = phase == "Running" && needed.iter().all(|status| status.ready);
    let not_ready = || {
        let unready: Vec<&ContainerStatus> = needed.iter().copied().filter(|status| !status.ready).collect();
        ("ContainersNotReady", format!("containers with unready status: [{}]", names(unready)))
    };
    let present_condition =
        |kind: &str| present["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == kind);
    let gate = facts.gates.iter().find(|gate| present_condition(gate).is_none_or(|c| c["status"] != "True"));
    let why = |fallback: &dyn Fn() -> (&'static str, String)| match completed {
        Some(reason) => (reason, String::new()),
        None => fallback(),
    };
    let closed_gate = || {
        let gate = gate.map(String::as_str).unwrap_or_default();
        let message = match present_condition(gate) {
            Some(_) => format!("the status of pod readiness gate {gate:?} is not \"True\", but False"),
            None => format!("corresponding condition of pod readiness gate {gate:?} does not exist."),
        };
        ("ReadinessGatesNotReady", message)
    };
    let initialized = facts.initialized || phase == "Succeeded" || init.is_empty();
    let incomplete = || {
        let done = |status: &&ContainerStatus| !init_is_done(status);
        let left: Vec<&ContainerStatus> = init.iter().filter(done).collect();
        ("ContainersNotInitialized", format!("containers with incomplete status: [{}]", names(left)))
    };
    let ready = containers_ready && gate.is_none();
    let ready_why = || if containers_ready { closed_gate() } else { not_ready() };
    let theirs = present["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|condition| condition["type"].as_str().is_some_and(|kind| !OWN.contains(&kind)));
    let mut conditions = vec![
        condition(present, OWN[0], facts.sandbox, None),
        condition(
            present,
            OWN[1],
            initialized,
            match (initialized, completed) {
                (true, Some("PodCompleted")) => Some(("PodCompleted", String::new())),
                (true, _) => None,
                (false, _) => Some(incomplete()),
            },
        ),
        condition(present, OWN[2], ready, (!ready).then(|| why(&ready_why))),
        condition(present, OWN[3], containers_ready, (!containers_ready).then(|| why(&not_ready))),
        condition(present, OWN[4], true, None),
    ];
    conditions.extend(theirs.filter_map(|condition| serde_json::from_value(condition.clone()).ok()));
    conditions
}

fn init_is_done(status: &ContainerStatus) -> bool {
    let ended = status.state.as_ref().and_then(|state| state.terminated.as_ref());
    ended.is_some_and(|end| end.exit_code == 0) || status.started == Some(true) && status.ready
}

fn phase(facts: &Facts, containers: &[ContainerRun]) -> &'static str {
    if facts.finished {
        let good = |run: &ContainerRun| {
            let record = run.record();
            matches!(&record.state, State::Terminated(end) if end.exit.code == 0)
        };
        // How a sidecar ends does not matter.
        let all = containers.iter().filter(|run| run.role != Role::Sidecar).all(good);
        return if all && facts.failure.is_none() { "Succeeded" } else { "Failed" };
    }
    let begun = |run: &ContainerRun| {
        let record = run.record();
        !matches!(record.state, State::Waiting { .. }) || record.last.is_some()
    };
    let mut main = containers.iter().filter(|run| run.role == Role::Main);
    let initialized = facts.initialized || containers.iter().all(|run| run.role == Role::Main);
    if initialized && main.clone().next().is_some() && main.all(begun) { "Running" } else { "Pending" }
}

fn container_status(run: &ContainerRun) -> ContainerStatus {
    let record = run.record();
    let running = matches!(record.state, State::Running { .. });
    let image = run.spec.image.clone().unwrap_or_default();
    let state = match &record.state {
        State::Waiting { reason, message } => ContainerState {
            waiting: Some(ContainerStateWaiting {
                reason: Some((*reason).into()),
                message: Some(message.clone()).filter(|message| !message.is_empty()),
            }),
            ..ContainerState::default()
        },
        State::Running { since } => ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(Time(*since)) }),
            ..ContainerState::default()
        },
        State::Terminated(end) => terminated(end),
    };
    ContainerStatus {
        name: run.spec.name.clone(),
        container_id: record.process.as_ref().map(|process| format!("netpol://{}", process.pid.as_raw_nonzero())),
        image_id: if record.process.is_some() { image.clone() } else { String::new() },
        image,
        ready: match (&record.state, run.role) {
            // An init container is ready once it is done.
            (State::Terminated(end), Role::Init) => end.exit.code == 0,
            _ => running && record.ready,
        },
        started: Some(running && *run.started.borrow()),
        restart_count: record.restarts,
        state: Some(state),
        last_state: record.last.as_ref().map(terminated),
        ..ContainerStatus::default()
    }
}

fn terminated(end: &Terminated) -> ContainerState {
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: end.exit.code,
            signal: end.exit.signal,
            reason: Some(end.reason.into()),
            message: Some(end.message.clone()).filter(|message| !message.is_empty()),
            started_at: Some(Time(end.started)),
            finished_at: Some(Time(end.finished)),
            ..ContainerStateTerminated::default()
        }),
        ..ContainerState::default()
    }
}

/// A condition; if `present` has it with the same status, with the time from there.
pub(crate) fn condition(present: &Value, kind: &str, holds: bool, why: Option<(&str, String)>) -> PodCondition {
    let status = if holds { "True" } else { "False" };
    let same = |condition: &&Value| condition["type"] == kind && condition["status"] == status;
    let since = present["conditions"].as_array().into_iter().flatten().find(same);
    let since = since.and_then(|condition| condition["lastTransitionTime"].as_str()?.parse().ok());
    let (reason, message) = why.unzip();
    PodCondition {
        type_: kind.into(),
        status: status.into(),
        last_transition_time: Some(Time(since.unwrap_or_else(Timestamp::now))),
        reason: reason.map(Into::into),
        message: message.filter(|message| !message.is_empty()),
        ..PodCondition::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processes::Exit;
    use serde_json::json;

    fn containers(states: Vec<(State, bool)>) -> Vec<ContainerRun> {
        let run = |(number, (state, ready)): (usize, (State, bool))| {
            let spec =
                serde_json::from_value(json!({"name": format!("c{number}"), "image": "netpol"})).expect("a container");
            let run = ContainerRun::new(spec, Role::Main, state);
            run.record().ready = ready;
            run
        };
        states.into_iter().enumerate().map(run).collect()
    }

    fn running() -> State {
        State::Running { since: Timestamp::UNIX_EPOCH }
    }

    fn ended(code: i32) -> State {
        let (started, finished) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        State::Terminated(Terminated {
            exit: Exit { code, signal: None },
            started,
            finished,
            reason: "",
            message: String::new(),
        })
    }

    fn condition_of<'a>(status: &'a PodStatus, kind: &str) -> &'a PodCondition {
        status.conditions.iter().flatten().find(|c| c.type_ == kind).expect("the condition")
    }

    #[test]
    fn the_phase_follows_the_containers() {
        let waiting = || State::Waiting { reason: "ContainerCreating", message: String::new() };
        let of = |finished, states| {
            let facts = Facts { finished, ..Facts::default() };
            status(&facts, &containers(states), &Value::Null).phase.expect("a phase")
        };
        assert_eq!(of(false, vec![(waiting(), false), (running(), true)]), "Pending");
        assert_eq!(of(false, vec![(running(), false)]), "Running");
        assert_eq!(of(false, vec![(ended(1), false)]), "Running", "it will be restarted");
        assert_eq!(of(true, vec![(ended(0), false), (ended(0), false)]), "Succeeded");
        assert_eq!(of(true, vec![(ended(0), false), (ended(2), false)]), "Failed");
    }

    #[test]
    fn ready_wants_every_container_and_the_time_stays_while_nothing_changes() {
        let present =
            json!({"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
        let half = status(&Facts::default(), &containers(vec![(running(), true), (running(), false)]), &present);
        let ready = condition_of(&half, "Ready");
        assert_eq!(ready.status, "False");
        assert_eq!(ready.message.as_deref(), Some("containers with unready status: [c1]"));
        assert_eq!(ready.last_transition_time, Some(Time("2026-01-01T00:00:00Z".parse().expect("a time"))));
        let whole = status(&Facts::default(), &containers(vec![(running(), true)]), &present);
        let ready = condition_of(&whole, "Ready");
        assert_eq!(ready.status, "True");
        assert!(ready.last_transition_time > Some(Time("2026-01-01T00:00:00Z".parse().expect("a time"))));
    }
}
