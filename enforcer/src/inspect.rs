//! `netpol inspect`: what the kernel of a node holds, read back for people and for a failed case's evidence.

use std::fmt::Write;
use std::net::IpAddr;

use anyhow::Context;
use netpol_nft::conntrack::{Conntrack, Filter};
use netpol_nft::{Connection, Table};

use crate::cni::masquerade;
use crate::compile;

/// Prints what the kernel holds in the network namespace that it runs in: the rules of the enforcer and of `netpol cni` as nft
/// text, and the connections that it knows. Needs CAP_NET_ADMIN there, and changes nothing.
#[derive(Clone, Debug, clap::Args)]
pub struct InspectArgs {
    /// Only connections with this address at one of their ends; may be repeated.
    #[arg(long, value_name = "ADDRESS")]
    pub address: Vec<IpAddr>,
}

/// What there is, as text: each table, or a comment that it is not there, and a line per connection.
///
/// # Errors
/// The kernel refuses to be asked, mostly for want of CAP_NET_ADMIN.
pub fn inspect(args: &InspectArgs) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut kernel = Connection::open().context("cannot ask the kernel for its rules")?;
    for name in [compile::TABLE, masquerade::TABLE] {
        let table = Table::inet(name);
        // Writing to a String cannot fail.
        let _ = match kernel.ruleset(&table).with_context(|| format!("cannot read {table}"))? {
            Some(ruleset) => write!(text, "{ruleset}"),
            None => writeln!(text, "# there is no {table}"),
        };
    }
    let mut conntrack = Conntrack::open().context("cannot ask the kernel for its connections")?;
    let filters = match args.address.as_slice() {
        [] => vec![Filter::default()],
        addresses => addresses.iter().map(|address| Filter::address(*address)).collect(),
    };
    let mut entries = Vec::new();
    for filter in filters {
        entries.extend(conntrack.list(&filter).context("cannot list the kernel's connections")?);
    }
    entries.sort();
    entries.dedup();
    let _ = writeln!(text, "# {} connections", entries.len());
    for entry in entries {
        let _ = writeln!(text, "# {entry}");
    }
    Ok(text)
}
