//! The configuration list by which the container runtime connects pods, and the file that holds it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde_json::{Value, json};

/// The file's name. The runtime takes the first configuration of its directory, by name.
pub const FILE: &str = "10-netpol.conflist";

/// While it is written it has this name, whose ending no runtime reads. It has to be in the same directory: containerd looks
/// for changes when a file there was written or renamed, and not when one appears.
const UNFINISHED: &str = ".10-netpol.conflist.unfinished";

/// The configuration list for pods with an address of each of these CIDRs, in that order: `ptp`, a veth pair and a host
/// route per pod; `host-local`, addresses in the order of a file per address; `portmap`, host ports.
pub fn content(pod_cidrs: &[IpNet], mtu: u32) -> String {
    let ranges: Vec<Value> = pod_cidrs.iter().map(|cidr| json!([{ "subnet": cidr.to_string() }])).collect();
    let default = |cidr: &IpNet| if cidr.addr().is_ipv4() { "0.0.0.0/0" } else { "::/0" };
    let routes: Vec<Value> = pod_cidrs.iter().map(|cidr| json!({ "dst": default(cidr) })).collect();
    let list = json!({
        "cniVersion": "1.0.0",
        "name": "netpol",
        "plugins": [
            {
                "type": "ptp",
                // We do that, for the cluster's CIDRs rather than for the node's.
                "ipMasq": false,
                "mtu": mtu,
                "ipam": {
                    "type": "host-local",
                    // Gone after a reboot, as the pods that had the addresses are.
                    "dataDir": "/run/cni-ipam-state",
                    "ranges": ranges,
                    "routes": routes,
                },
            },
            { "type": "portmap", "snat": true, "capabilities": { "portMappings": true } },
        ],
    });
    format!("{list:#}\n")
}

/// Puts the configuration into the directory, in one step and on the disk. Returns whether it was not there already.
///
/// # Errors
/// The directory does not exist or cannot be written.
pub fn write(directory: &Path, content: &str) -> io::Result<bool> {
    let file = directory.join(FILE);
    if fs::read(&file).is_ok_and(|present| present == content.as_bytes()) {
        return Ok(false);
    }
    let unfinished = directory.join(UNFINISHED);
    let mut new = File::create(&unfinished)?;
    new.write_all(content.as_bytes())?;
    new.sync_all()?;
    fs::rename(&unfinished, &file)?;
    File::open(directory)?.sync_all()?;
    Ok(true)
}

/// Takes the configuration away. Returns whether there was one.
///
/// # Errors
/// It cannot be deleted.
pub fn withdraw(directory: &Path) -> io::Result<bool> {
    match fs::remove_file(directory.join(FILE)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The configuration that the runtime takes instead of ours, if one comes before it by name.
///
/// # Errors
/// The directory cannot be read.
pub fn taken_instead(directory: &Path) -> io::Result<Option<PathBuf>> {
    let mut before = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let is_configuration =
            path.extension().is_some_and(|ending| ["conf", "conflist", "json"].iter().any(|known| ending == *known));
        if is_configuration && path.file_name().is_some_and(|name| name < std::ffi::OsStr::new(FILE)) {
            before.push(path);
        }
    }
    Ok(before.into_iter().min())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidrs(text: &[&str]) -> Vec<IpNet> {
        text.iter().map(|cidr| cidr.parse().expect("a CIDR")).collect()
    }

    fn parsed(pod_cidrs: &[&str]) -> Value {
        serde_json::from_str(&content(&cidrs(pod_cidrs), 1450)).expect("JSON")
    }

    #[test]
    fn one_family() {
        let list = parsed(&["10.244.1.0/24"]);
        assert_eq!((&list["cniVersion"], &list["name"]), (&json!("1.0.0"), &json!("netpol")));
        let ptp = &list["plugins"][0];
        assert_eq!((&ptp["type"], &ptp["ipMasq"], &ptp["mtu"]), (&json!("ptp"), &json!(false), &json!(1450)));
        assert_eq!(ptp["ipam"]["type"], "host-local");
        assert_eq!(ptp["ipam"]["ranges"], json!([[{ "subnet": "10.244.1.0/24" }]]));
        assert_eq!(ptp["ipam"]["routes"], json!([{ "dst": "0.0.0.0/0" }]));
        let portmap = json!({ "type": "portmap", "snat": true, "capabilities": { "portMappings": true } });
        assert_eq!(list["plugins"][1], portmap);
        assert_eq!(list["plugins"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn the_first_family_of_the_cluster_stays_first() {
        let list = parsed(&["fd00:10:244:1::/64", "10.244.1.0/24"]);
        let ipam = &list["plugins"][0]["ipam"];
        assert_eq!(ipam["ranges"], json!([[{ "subnet": "fd00:10:244:1::/64" }], [{ "subnet": "10.244.1.0/24" }]]));
        assert_eq!(ipam["routes"], json!([{ "dst": "::/0" }, { "dst": "0.0.0.0/0" }]));
    }
}
