//! Worlds in YAML, the rulesets that they compile to, and what a kernel makes of them.

mod api_server;
mod cluster;
mod cni;
mod compile;
mod damage;
mod differences;
mod disturbances;
mod dry_run;
mod gone;
mod health;
mod incremental;
mod live;
mod manifests;
mod masquerade;
mod node;
mod packets;
mod permissions;
mod probes;
mod protocols;
mod restarts;
mod rewrites;
mod scratch;
mod selftest;
mod services;
mod traffic;
mod uplinks;
