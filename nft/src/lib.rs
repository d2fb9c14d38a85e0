//! Typed nftables over netlink, without Kubernetes
