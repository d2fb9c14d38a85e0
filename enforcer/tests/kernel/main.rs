//! Worlds in YAML, the rulesets that they compile to, and what a kernel makes of them.

mod api_server;
mod cni;
mod compile;
mod differences;
mod dry_run;
mod health;
mod incremental;
mod live;
mod manifests;
mod masquerade;
mod node;
mod packets;
mod permissions;
mod probes;
mod scratch;
mod selftest;
mod services;
mod uplinks;
