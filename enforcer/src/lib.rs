//! The per-node enforcer: watch, world, compile, diff, apply
