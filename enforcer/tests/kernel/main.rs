//! Worlds in YAML, the rulesets that they compile to, and what a kernel makes of them.

mod compile;
mod differences;
mod live;
mod manifests;
mod node;
mod packets;
mod probes;
mod scratch;
mod uplinks;
