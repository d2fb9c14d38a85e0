//! Bugs in how and when the kernel's rules are written.

use std::time::Duration;

use netpol_enforcer::apply::{Applied, ApplyError, Desired, Kernel};
use netpol_enforcer::compile::{Site, TABLE, compile};
use netpol_enforcer::world::World;
use netpol_nft::conntrack::{Conntrack, Filter};
use netpol_nft::{Connection, Ruleset, Table, Transaction};

use crate::mutant::{Bug, Memory, Mutant};
use crate::ruleset::rules;

/// The mutant that does the rest when it ends.
pub(crate) const REMOVES_RULES: &str = "removes-rules-at-its-end";

/// What an agent that polls, or waits for more changes, takes.
const LATE: Duration = Duration::from_millis(400);

/// How long one start of `nft`, and with it a rewrite that is not atomic, takes on a small machine.
const ONE_NFT: Duration = Duration::from_millis(20);

pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        "reacts-late",
        "N58",
        "Every change reaches the kernel 400 ms late",
        Bug::Memory(|| Box::new(Late(LATE))),
    )
    .seen_by("the report's canaryMs: being late is measured, and not failed"),
    Mutant::new(
        "unknown-pods-are-open",
        "N60 P3 P38 P41",
        "A pod that is not programmed yet is open, and programming it takes 400 ms",
        Bug::Memory(|| Box::new(OpenUntilProgrammed)),
    ),
    Mutant::new(
        "flushes-at-its-start",
        "P27",
        "Rules that are there at the start are flushed, and pods are open until the new ones are written",
        Bug::Memory(|| Box::new(Flushing { started: false, between: open, takes: ONE_NFT * 25 })),
    ),
    Mutant::new(
        "closes-at-its-start",
        "P27",
        "Nothing new passes from its start until the rules are written, which takes two seconds",
        Bug::Memory(|| Box::new(Flushing { started: false, between: closed, takes: LATE * 5 })),
    ),
    Mutant::new(
        REMOVES_RULES,
        "P27",
        "Its rules go with it, and pods are open until it is started again",
        Bug::Memory(|| Box::new(Late(Duration::ZERO))),
    ),
    Mutant::new(
        "opens-while-it-rewrites",
        "P25",
        "Rules are flushed and written anew at every change, and pods are open meanwhile",
        Bug::Memory(|| Box::new(Rewriting { between: open })),
    )
    .seen_by("`rewrites::no_rewrite_opens_or_cuts` in enforcer/tests/kernel: a probe per millisecond; those of the catalogue are rarer"),
    Mutant::new(
        "closes-while-it-rewrites",
        "P25",
        "Rules are flushed and written anew at every change, and nothing passes meanwhile",
        Bug::Memory(|| Box::new(Rewriting { between: closed })),
    )
    .seen_by("enforcer/tests/kernel/rewrites.rs: no_rewrite_opens_or_cuts; a single loss fails no case"),
    Mutant::new(
        "forgets-connections",
        "N63 P2",
        "The node's conntrack table is flushed at every change, so that connections are judged again",
        Bug::Memory(|| Box::new(Forgetful)),
    ),
];

/// The rules without what holds anything back.
fn open(mut ruleset: Ruleset) -> Ruleset {
    ruleset.chains.values_mut().filter(|(chain, _)| chain.base.is_some()).for_each(|(_, rules)| rules.clear());
    ruleset
}

/// The rules without what lets anything new pass.
fn closed(ruleset: Ruleset) -> Ruleset {
    netpol_enforcer::compile::closed(&ruleset)
}

struct Late(Duration);

impl Memory for Late {
    fn apply(&mut self, kernel: &mut Kernel, desired: Desired<'_>) -> Result<Applied, ApplyError> {
        std::thread::sleep(self.0);
        kernel.enforce(desired)
    }
}

struct OpenUntilProgrammed;

impl Memory for OpenUntilProgrammed {
    fn compile(&mut self, world: &World, site: &Site) -> Ruleset {
        let mut ruleset = compile(world, site);
        // Their last rules drop what no map dispatches.
        for chain in ["from-pod", "ingress"] {
            rules(&mut ruleset, chain).pop();
        }
        ruleset
    }

    fn apply(&mut self, kernel: &mut Kernel, desired: Desired<'_>) -> Result<Applied, ApplyError> {
        std::thread::sleep(LATE);
        kernel.enforce(desired)
    }
}

struct Flushing {
    started: bool,
    between: fn(Ruleset) -> Ruleset,
    takes: Duration,
}

impl Memory for Flushing {
    fn apply(&mut self, kernel: &mut Kernel, desired: Desired<'_>) -> Result<Applied, ApplyError> {
        if let (false, Desired::Ruleset(ruleset)) = (std::mem::replace(&mut self.started, true), &desired) {
            kernel.apply((self.between)(ruleset.clone()))?;
            std::thread::sleep(self.takes);
        }
        kernel.enforce(desired)
    }
}

struct Rewriting {
    between: fn(Ruleset) -> Ruleset,
}

impl Memory for Rewriting {
    fn apply(&mut self, kernel: &mut Kernel, desired: Desired<'_>) -> Result<Applied, ApplyError> {
        if let Desired::Ruleset(ruleset) = &desired {
            kernel.apply((self.between)(ruleset.clone()))?;
            std::thread::sleep(ONE_NFT);
        }
        kernel.enforce(desired)
    }
}

struct Forgetful;

impl Memory for Forgetful {
    fn apply(&mut self, kernel: &mut Kernel, desired: Desired<'_>) -> Result<Applied, ApplyError> {
        let applied = kernel.enforce(desired);
        let forgotten = Conntrack::open().and_then(|mut table| {
            table.list(&Filter::default())?.iter().try_for_each(|entry| table.delete(entry).map(drop))
        });
        if let Err(error) = forgotten {
            tracing::error!(%error, "connections stay, and so does the bug");
        }
        applied
    }
}

/// Removes the table.
pub(crate) fn remove_rules() -> Result<(), netpol_nft::Error> {
    let mut transaction = Transaction::new(Table::inet(TABLE));
    transaction.destroy_table();
    Connection::open()?.apply(&transaction)
}
