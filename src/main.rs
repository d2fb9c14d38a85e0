//! The `netpol` command: dispatch on subcommand and on argv[0], nothing else.

fn main() {}
