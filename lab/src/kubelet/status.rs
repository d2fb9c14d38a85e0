//! A pod's status as the API shows it: what is so, since when, and why it is not otherwise.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, HostIP,
    PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use super::container::{ContainerRun, State, Terminated};

/// What of a pod's status is not in its containers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// Address of the pod's node.
    pub(crate) host_ip: String,
    /// Address of the pod, once it has one.
    pub(crate) pod_ip: Option<String>,
    /// When the kubelet took the pod.
    pub(crate) since: Option<Timestamp>,
    /// Whether the pod's network still stands.
    pub(crate) sandbox: bool,
    /// Whether the containers that have ended stay so.
    pub(crate) finished: bool,
}

/// The status of a pod with these containers. `present` is the status that the API has now: conditions that have not
/// changed keep their time.
pub(crate) fn status(facts: &Facts, containers: &[ContainerRun], present: &Value) -> PodStatus {
    let statuses: Vec<ContainerStatus> = containers.iter().map(container_status).collect();
    let phase = phase(facts, containers);
    let ready = phase == "Running" && statuses.iter().all(|status| status.ready);
    let unready = || statuses.iter().filter(|s| !s.ready).map(|s| s.name.as_str()).collect::<Vec<_>>().join(" ");
    let why_not = || match phase {
        "Succeeded" => ("PodCompleted", String::new()),
        "Failed" => ("PodFailed", String::new()),
        _ => ("ContainersNotReady", format!("containers with unready status: [{}]", unready())),
    };
    let mut conditions = vec![condition(present, "PodReadyToStartContainers", facts.sandbox, None)];
    conditions.push(condition(present, "Initialized", true, None));
    conditions.push(condition(present, "Ready", ready, (!ready).then(why_not)));
    conditions.push(condition(present, "ContainersReady", ready, (!ready).then(why_not)));
    conditions.push(condition(present, "PodScheduled", true, None));
    PodStatus {
        phase: Some(phase.into()),
        host_ip: Some(facts.host_ip.clone()),
        host_ips: Some(vec![HostIP { ip: facts.host_ip.clone() }]),
        pod_ip: facts.pod_ip.clone(),
        pod_ips: facts.pod_ip.clone().map(|ip| vec![PodIP { ip }]),
        qos_class: Some("BestEffort".into()),
        start_time: facts.since.map(Time),
        container_statuses: Some(statuses),
        conditions: Some(conditions),
        ..PodStatus::default()
    }
}

fn phase(facts: &Facts, containers: &[ContainerRun]) -> &'static str {
    if facts.finished {
        let good = |run: &ContainerRun| matches!(&run.record().state, State::Terminated(end) if end.exit.code == 0);
        return if containers.iter().all(good) { "Succeeded" } else { "Failed" };
    }
    let begun = |run: &ContainerRun| {
        let record = run.record();
        !matches!(record.state, State::Waiting { .. }) || record.last.is_some()
    };
    if !containers.is_empty() && containers.iter().all(begun) { "Running" } else { "Pending" }
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
        ready: running && record.ready,
        started: Some(running),
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
            let run = ContainerRun::new(spec, Default::default(), state);
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
