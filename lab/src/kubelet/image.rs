//! The lab's one image: this executable, with the host's files around it.

use k8s_openapi::api::core::v1::Pod;

/// The image that a pod declares for one of its containers.
pub(crate) fn declared(pod: &Pod, container: &str) -> String {
    let spec = pod.spec.as_ref();
    let all = spec.into_iter().flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
    all.filter(|c| c.name == container).find_map(|c| c.image.clone()).unwrap_or_default()
}

/// The command that a container runs: the program and its arguments, before `$(VAR)` is replaced.
pub(crate) fn command(entrypoint: Option<&[String]>, arguments: Option<&[String]>) -> Vec<String> {
    let own = ["netpol".to_owned()];
    let program = entrypoint.filter(|words| !words.is_empty()).unwrap_or(&own);
    program.iter().chain(arguments.unwrap_or_default()).cloned().collect()
}

/// Whether the lab has an image of this name: `netpol` in any registry, with any tag or digest.
pub(crate) fn is_present(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split([':', '@']).next() == Some("netpol")
}

/// What a container's status says of an image that the lab does not have.
pub(crate) fn missing(image: &str) -> String {
    format!(
        "image {image:?} is not present: the lab pulls nothing and has the single image \"netpol\", in which every \
         program of the host can be run by its path"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_netpol_is_present() {
        for image in
            ["netpol", "netpol:dev", "ghcr.io/netpol-dev/netpol:v1", "localhost:5000/netpol", "a/netpol@sha256:0"]
        {
            assert!(is_present(image), "{image}");
        }
        for image in ["nginx", "netpol/agent", "netpolx:1", "x/netpol-agent:1", ""] {
            assert!(!is_present(image), "{image}");
        }
    }

    #[test]
    fn the_entrypoint_is_netpol_unless_replaced() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(command(None, Some(&words("agent server"))), words("netpol agent server"));
        assert_eq!(command(Some(&words("sleep 5")), None), words("sleep 5"));
        assert_eq!(command(Some(&[]), Some(&words("agent"))), words("netpol agent"));
    }
}
