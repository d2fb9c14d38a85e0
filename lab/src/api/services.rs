//! What the API server decides when a Service is written: families, addresses, node ports.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::object::Object;
use super::resources::{Kind, SERVICE};
use super::status::{Cause, Status};
use super::store::{State, Transaction};

/// Where node ports are taken from.
const NODE_PORTS: RangeInclusive<u16> = 30_000..=32_767;

/// What is known where a Service is written.
#[derive(Debug)]
struct Surroundings<'a> {
    /// What addresses are taken from, one network per family of the cluster, the primary one first.
    networks: &'a [IpNet],
    /// All other Services.
    others: &'a [&'a Value],
    /// Where the search for a free one begins; moves on, so that what was freed rests.
    start: u64,
}

impl Transaction<'_> {
    /// What depends on other objects than the one that is written: addresses and node ports of Services.
    pub(crate) fn complete(
        &self,
        kind: &'static Kind,
        present: Option<&Object>,
        object: &mut Value,
    ) -> Result<(), Status> {
        if *kind != *SERVICE {
            return Ok(());
        }
        let services = self.table(SERVICE).objects.values();
        let others: Vec<&Value> =
            services.filter(|other| present.is_none_or(|own| own.uid() != other.uid())).map(|o| o.value()).collect();
        let State { version, service_networks, .. } = &*self.state;
        let around = Surroundings { networks: service_networks, others: &others, start: *version };
        complete(&around, present.map(Object::value), object)
    }
}

/// Fills in what the client left to the server. `present` is what an update replaces.
///
/// # Errors
/// 422 with what cannot be had.
fn complete(around: &Surroundings<'_>, present: Option<&Value>, service: &mut Value) -> Result<(), Status> {
    let name = service["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let Some(spec) = service.get_mut("spec").filter(|spec| spec.is_object()) else { return Ok(()) };
    if spec["type"] == "ExternalName" {
        return Ok(());
    }
    let mut causes = Vec::new();
    let before = present.map(|present| &present["spec"]).filter(|before| before["type"] != "ExternalName");
    if let Some(before) = before {
        keep(before, spec);
    }
    families_and_addresses(around, spec, &mut causes);
    node_ports(around, before, spec, &mut causes);
    if spec["internalTrafficPolicy"].is_null() {
        spec["internalTrafficPolicy"] = json!("Cluster");
    }
    if causes.is_empty() { Ok(()) } else { Err(Status::invalid(SERVICE, &name, causes)) }
}

/// An update that does not speak of addresses and families keeps them.
fn keep(before: &Value, spec: &mut Value) {
    if text(&spec["clusterIP"]).is_empty() && spec["clusterIPs"].is_null() {
        for key in ["clusterIP", "clusterIPs"] {
            spec[key] = before[key].clone();
        }
    }
    for key in ["ipFamilies", "ipFamilyPolicy"] {
        if spec[key].is_null() {
            spec[key] = before[key].clone();
        }
    }
    // One that asks for a single family gives the second one up.
    if spec["ipFamilyPolicy"] == "SingleStack" && before["ipFamilyPolicy"] != "SingleStack" {
        for key in ["clusterIPs", "ipFamilies"] {
            if let Some(list) = spec[key].as_array_mut() {
                list.truncate(1);
            }
        }
    }
}

fn families_and_addresses(around: &Surroundings<'_>, spec: &mut Value, causes: &mut Vec<Cause>) {
    let mut addresses: Vec<String> = list(&spec["clusterIPs"]).map(|ip| text(ip).to_owned()).collect();
    if addresses.is_empty() {
        addresses.extend(Some(text(&spec["clusterIP"]).to_owned()).filter(|ip| !ip.is_empty()));
    }
    let headless = addresses.first().is_some_and(|ip| ip == "None");
    let mut families: Vec<String> = list(&spec["ipFamilies"]).map(|family| text(family).to_owned()).collect();
    if families.is_empty() && !headless {
        let parsed = addresses.iter().filter_map(|ip| ip.parse::<IpAddr>().ok());
        families.extend(parsed.map(|ip| family_of(ip.is_ipv4()).to_owned()));
    }
    let known: Vec<&str> = around.networks.iter().map(|network| family_of(network.addr().is_ipv4())).collect();
    let policy = match text(&spec["ipFamilyPolicy"]) {
        "" if families.len() == 2 => "RequireDualStack",
        "" => "SingleStack",
        policy => policy,
    }
    .to_owned();
    if policy == "RequireDualStack" && known.len() < 2 {
        let detail = "this cluster is not configured for dual-stack services";
        causes.push(Cause::invalid("spec.ipFamilyPolicy", &json!(policy), detail));
    }
    if policy == "SingleStack" && families.len() == 2 {
        let detail = "must be 'RequireDualStack' or 'PreferDualStack' when multiple 'ipFamilies' are specified";
        causes.push(Cause::invalid("spec.ipFamilyPolicy", &json!(policy), detail));
    }
    for (index, family) in families.iter().enumerate().filter(|(_, family)| !known.contains(&family.as_str())) {
        let detail = "not configured on this cluster";
        causes.push(Cause::invalid(format!("spec.ipFamilies[{index}]"), &json!(family), detail));
    }
    // What is unknown is refused already, and has no addresses.
    families.retain(|family| known.contains(&family.as_str()));
    let wanted = if policy == "SingleStack" { 1 } else { known.len() };
    for family in &known {
        if families.len() < wanted && !families.iter().any(|present| present == family) {
            families.push((*family).to_owned());
        }
    }
    if !headless {
        for (index, family) in families.iter().enumerate() {
            match addresses.get(index) {
                Some(given) => causes.extend(check_address(around, given, family)),
                None => match free_address(around, family) {
                    Some(address) => addresses.push(address.to_string()),
                    None => causes.push(Cause::invalid(
                        "spec.clusterIPs",
                        &json!(addresses),
                        "failed to allocate an IP: the range is full",
                    )),
                },
            }
        }
    }
    spec["clusterIP"] = json!(addresses.first());
    spec["clusterIPs"] = json!(addresses);
    spec["ipFamilies"] = json!(families);
    spec["ipFamilyPolicy"] = json!(policy);
}

fn check_address(around: &Surroundings<'_>, given: &str, family: &str) -> Option<Cause> {
    let invalid = |detail: &str| Some(Cause::invalid("spec.clusterIPs", &json!([given]), detail));
    let Ok(address) = given.parse::<IpAddr>() else {
        let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        return Some(Cause::invalid("spec.clusterIPs[0]", &json!(given), detail));
    };
    let network = around.networks.iter().find(|network| network.contains(&address));
    let Some(network) = network.filter(|network| family_of(network.addr().is_ipv4()) == family) else {
        let ranges: Vec<String> = around.networks.iter().map(ToString::to_string).collect();
        return invalid(&format!(
            "failed to allocate IP {given}: the provided IP ({given}) is not in the valid range. The range of valid IPs is {}",
            ranges.join(", ")
        ));
    };
    if taken(around).contains(&address) || address == network.network() {
        return invalid(&format!("failed to allocate IP {given}: provided IP is already allocated"));
    }
    None
}

fn taken(around: &Surroundings<'_>) -> BTreeSet<IpAddr> {
    let addresses = around.others.iter().flat_map(|other| list(&other["spec"]["clusterIPs"]));
    addresses.filter_map(|address| text(address).parse().ok()).collect()
}

fn free_address(around: &Surroundings<'_>, family: &str) -> Option<IpAddr> {
    let network = around.networks.iter().find(|network| family_of(network.addr().is_ipv4()) == family)?;
    let taken = taken(around);
    // The low ones are left to those who ask for one by name, the first of them the API server's.
    let (first, count) = (64u64, 32_000u64);
    let at = |offset: u64| match network {
        IpNet::V4(net) => {
            u32::try_from(offset).ok().map(|offset| IpAddr::from((net.network().to_bits() + offset).to_be_bytes()))
        }
        IpNet::V6(net) => Some(IpAddr::from((net.network().to_bits() + u128::from(offset)).to_be_bytes())),
    };
    (0..count).filter_map(|step| at(first + (around.start + step) % count)).find(|address| !taken.contains(address))
}

fn node_ports(around: &Surroundings<'_>, before: Option<&Value>, spec: &mut Value, causes: &mut Vec<Cause>) {
    let external = spec["type"] == "NodePort" || spec["type"] == "LoadBalancer";
    if !external {
        if let Some(map) = spec.as_object_mut() {
            map.shift_remove("externalTrafficPolicy");
        }
        for port in spec["ports"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            port.shift_remove("nodePort");
        }
        return;
    }
    if spec["externalTrafficPolicy"].is_null() {
        spec["externalTrafficPolicy"] = json!("Cluster");
    }
    let others = around.others.iter().flat_map(|other| list(&other["spec"]["ports"]));
    let used =
        |port: &Value| Some((text(&port["protocol"]).to_owned(), u16::try_from(port["nodePort"].as_u64()?).ok()?));
    let mut taken: BTreeSet<(String, u16)> = others.filter_map(used).collect();
    for (index, port) in spec["ports"].as_array_mut().into_iter().flatten().enumerate() {
        let protocol = text(&port["protocol"]).to_owned();
        if port["nodePort"].as_u64().is_none_or(|number| number == 0) {
            let same = |other: &&Value| other["port"] == port["port"] && other["protocol"] == port["protocol"];
            let kept = before.and_then(|before| list(&before["ports"]).find(same)).and_then(used);
            let count = u64::from(NODE_PORTS.end() - NODE_PORTS.start()) + 1;
            let numbers = (0..count).filter_map(|step| u16::try_from((around.start + step) % count).ok());
            let free = |number: &u16| !taken.contains(&(protocol.clone(), *number));
            let chosen = kept.map(|(_, number)| number).filter(free);
            match chosen.or_else(|| numbers.map(|number| NODE_PORTS.start() + number).find(free)) {
                Some(number) => port["nodePort"] = json!(number),
                None => {
                    causes.push(Cause::invalid(format!("spec.ports[{index}].nodePort"), &json!(0), "range is full"))
                }
            }
        } else if let Some((_, number)) = used(port) {
            let field = format!("spec.ports[{index}].nodePort");
            if !NODE_PORTS.contains(&number) {
                let detail = "provided port is not in the valid range. The range of valid ports is 30000-32767";
                causes.push(Cause::invalid(field, &port["nodePort"], detail));
            } else if taken.contains(&(protocol.clone(), number)) {
                causes.push(Cause::invalid(field, &port["nodePort"], "provided port is already allocated"));
            }
        }
        taken.extend(used(port));
    }
}

fn family_of(is_ipv4: bool) -> &'static str {
    if is_ipv4 { "IPv4" } else { "IPv6" }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(networks: &[&str], others: &[&Value], spec: Value) -> Result<Value, Vec<String>> {
        let networks: Vec<IpNet> = networks.iter().map(|network| network.parse().expect("a network")).collect();
        let around = Surroundings { networks: &networks, others, start: 7 };
        let mut service = json!({"metadata": {"name": "s"}, "spec": spec});
        match complete(&around, None, &mut service) {
            Ok(()) => Ok(service["spec"].take()),
            Err(status) => Err(status.causes.into_iter().map(|cause| cause.field).collect()),
        }
    }

    const DUAL: [&str; 2] = ["10.96.0.0/16", "fd00:10:96::/112"];

    #[test]
    fn families_follow_policy_and_cluster() {
        let spec = made(&DUAL, &[], json!({"type": "ClusterIP"})).expect("made");
        assert_eq!((&spec["clusterIPs"], &spec["ipFamilies"]), (&json!(["10.96.0.71"]), &json!(["IPv4"])));
        let spec = made(&DUAL, &[], json!({"ipFamilyPolicy": "PreferDualStack"})).expect("made");
        assert_eq!(spec["clusterIPs"], json!(["10.96.0.71", "fd00:10:96::47"]));
        let spec = made(&DUAL, &[], json!({"ipFamilies": ["IPv6"]})).expect("made");
        assert_eq!((&spec["clusterIP"], &spec["ipFamilyPolicy"]), (&json!("fd00:10:96::47"), &json!("SingleStack")));
        let spec = made(&DUAL[..1], &[], json!({"ipFamilyPolicy": "PreferDualStack"})).expect("made");
        assert_eq!(spec["ipFamilies"], json!(["IPv4"]));
        let refused = made(&DUAL[..1], &[], json!({"ipFamilyPolicy": "RequireDualStack"}));
        assert_eq!(refused, Err(vec!["spec.ipFamilyPolicy".to_owned()]));
        assert_eq!(made(&DUAL[..1], &[], json!({"ipFamilies": ["IPv6"]})), Err(vec!["spec.ipFamilies[0]".to_owned()]));
    }

    #[test]
    fn what_others_have_is_not_given_twice() {
        let port = json!({"port": 80, "protocol": "TCP"});
        let first = made(&DUAL, &[], json!({"type": "NodePort", "ports": [port]})).expect("made");
        assert_eq!(
            (&first["ports"][0]["nodePort"], &first["externalTrafficPolicy"]),
            (&json!(30007), &json!("Cluster"))
        );
        let other = json!({"spec": first});
        let second = made(&DUAL, &[&other], json!({"type": "NodePort", "ports": [port]})).expect("made");
        assert_eq!(second["clusterIP"], "10.96.0.72");
        assert_eq!(second["ports"][0]["nodePort"], 30008);
        let mut taken = port.clone();
        taken["nodePort"] = json!(30007);
        let refused = made(&DUAL, &[&other], json!({"type": "NodePort", "clusterIP": "10.96.0.71", "ports": [taken]}));
        assert_eq!(refused, Err(vec!["spec.clusterIPs".to_owned(), "spec.ports[0].nodePort".to_owned()]));
        assert_eq!(made(&DUAL, &[], json!({"clusterIP": "10.97.0.1"})), Err(vec!["spec.clusterIPs".to_owned()]));
    }

    #[test]
    fn headless_services_have_families_and_no_address() {
        let spec = made(&DUAL, &[], json!({"clusterIP": "None", "ipFamilyPolicy": "RequireDualStack"})).expect("made");
        assert_eq!((&spec["clusterIPs"], &spec["ipFamilies"]), (&json!(["None"]), &json!(["IPv4", "IPv6"])));
    }
}
