//! What a cluster does, asked of any: of a lab that this test boots, or of the cluster that `NETPOL_PARITY_KUBECONFIG` leads to.
//! One body per behaviour: where the lab and a real cluster differ, one of the two runs fails. On a real cluster the pods have
//! the image `NETPOL_PARITY_IMAGE` (`netpol image build`).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

mod parity {
    mod agent;
    mod api;
    pub(crate) mod cluster;
    mod endpoint_slices;
    mod host_network;
    mod kubelet;
    mod node_ports;
    mod pods;
    mod services;
}
