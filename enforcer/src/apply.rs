//! Makes the kernel hold a ruleset: one atomic transaction per change.

use std::time::{Duration, Instant};

use netpol_nft::{Connection, Ruleset, Table, Transaction};

use crate::compile::{self, Incremental};
use crate::diff::{Delta, diff, replacement};

/// The kernel's side: the connection to it, and what it holds by our last transaction.
#[derive(Debug)]
pub struct Kernel {
    connection: Connection,
    held: Held,
}

/// What the kernel is thought to hold.
#[derive(Debug)]
enum Held {
    /// Nobody knows: it has to be asked.
    Unknown,
    /// This ruleset.
    Ruleset(Ruleset),
    /// What [`Kernel::follow`] last followed.
    Followed,
}

/// What the kernel is to hold.
#[derive(Debug)]
pub enum Desired<'a> {
    /// A whole ruleset.
    Ruleset(Ruleset),
    /// What this holds, which differs by the delta from what was desired before.
    Change(&'a Incremental, &'a Delta),
}

/// What a change came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Operations in the transaction; none if the kernel held the ruleset already.
    pub operations: usize,
    /// What the kernel was found to hold was not what it was thought to.
    pub repaired: bool,
    /// Whether the whole table was replaced.
    pub replaced: bool,
    /// From the ruleset to the kernel's answer.
    pub took: Duration,
}

/// The kernel could not be made to hold the ruleset. What it held before is still in force.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// No connection to nftables.
    #[error("cannot talk to nftables; the enforcer needs CAP_NET_ADMIN in its network namespace: {0}")]
    Connect(#[source] netpol_nft::Error),
    /// What nftables holds could not be listed.
    #[error("cannot list what nftables holds: {0}")]
    List(#[source] netpol_nft::Error),
    /// The transaction was refused, even after the whole table was to be replaced.
    #[error("the kernel refused the transaction of {operations} operations on table {table}: {source}")]
    Refused {
        /// The table.
        table: Table,
        /// How many operations it had.
        operations: usize,
        /// What the kernel answered.
        #[source]
        source: netpol_nft::Error,
    },
}

impl Kernel {
    /// Connects. Nothing is written, and what the kernel holds is asked of it before it is changed.
    pub fn open() -> Result<Self, ApplyError> {
        Ok(Self { connection: Connection::open().map_err(ApplyError::Connect)?, held: Held::Unknown })
    }

    /// Whether the inet table of this name is there, made by this process or by another.
    pub fn has_table(&mut self, name: &str) -> Result<bool, ApplyError> {
        let tables = self.connection.tables().map_err(ApplyError::List)?;
        Ok(tables.contains(&Table::inet(name)))
    }

    /// What the inet table of this name holds, made by this process or by another; none if there is no such table.
    pub(crate) fn held(&mut self, name: &str) -> Result<Option<Ruleset>, ApplyError> {
        self.connection.ruleset(&Table::inet(name)).map_err(ApplyError::List)
    }

    /// The netlink port by which news of nftables name this connection.
    pub(crate) fn port(&self) -> Result<u32, ApplyError> {
        self.connection.port().map_err(ApplyError::Connect)
    }

    /// Forgets what the kernel is thought to hold: it is asked before the next change.
    pub(crate) fn forget(&mut self) {
        self.held = Held::Unknown;
    }

    /// Brings the kernel to what is desired.
    pub fn enforce(&mut self, desired: Desired<'_>) -> Result<Applied, ApplyError> {
        match desired {
            Desired::Ruleset(ruleset) => self.apply(ruleset),
            Desired::Change(compiled, delta) => self.follow(compiled, delta),
        }
    }

    /// Brings the kernel from what it holds to this ruleset. If it refuses the difference, somebody has changed the table.
    pub fn apply(&mut self, desired: Ruleset) -> Result<Applied, ApplyError> {
        let start = Instant::now();
        let delta = match &self.held {
            Held::Ruleset(held) => diff(held, &desired).ok(),
            _ => None,
        };
        let applied = match delta {
            Some(delta) => self.change(&desired.table, &delta, || desired.clone(), start)?,
            None => self.reconcile(&desired, start)?,
        };
        self.held = Held::Ruleset(desired);
        Ok(applied)
    }

    /// Brings the kernel from what `compiled` held before the delta to what it holds with it.
    pub fn follow(&mut self, compiled: &Incremental, delta: &Delta) -> Result<Applied, ApplyError> {
        let start = Instant::now();
        let applied = match &self.held {
            Held::Followed => self.change(&Table::inet(compile::TABLE), delta, || compiled.ruleset(), start)?,
            _ => self.reconcile(&compiled.ruleset(), start)?,
        };
        self.held = Held::Followed;
        Ok(applied)
    }

    /// Writes a difference. If the kernel refuses it, it does not hold what we think: it is asked, and set right.
    fn change(
        &mut self,
        table: &Table,
        delta: &Delta,
        whole: impl FnOnce() -> Ruleset,
        start: Instant,
    ) -> Result<Applied, ApplyError> {
        self.held = Held::Unknown;
        match self.write(table, delta) {
            Ok(operations) => Ok(Applied { operations, repaired: false, replaced: false, took: start.elapsed() }),
            Err(error) => {
                tracing::error!(%error, "the kernel refused a change; comparing what it holds");
                self.reconcile(&whole(), start).map(|applied| Applied { repaired: true, ..applied })
            }
        }
    }

    /// Asks the kernel what it holds, and writes what is different (P27): all of it if there is no such table.
    fn reconcile(&mut self, desired: &Ruleset, start: Instant) -> Result<Applied, ApplyError> {
        self.held = Held::Unknown;
        let written = match self.connection.ruleset(&desired.table) {
            Ok(None) => None,
            Ok(Some(held)) => Some(match diff(&held, &desired.clone().canonical()) {
                Ok(delta) => self.write(&desired.table, &delta).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            }),
            Err(error) => Some(Err(error.to_string())),
        };
        match written {
            Some(Ok(operations)) => {
                return Ok(Applied { operations, repaired: false, replaced: false, took: start.elapsed() });
            }
            // Its base chains go with it, and come at once.
            Some(Err(error)) => tracing::error!(error, "what is there cannot be led over; replacing the whole table"),
            None => {}
        }
        let operations = self.replace(desired)?;
        Ok(Applied { operations, repaired: false, replaced: true, took: start.elapsed() })
    }

    /// Replaces the table, whatever it holds, by this ruleset.
    fn replace(&mut self, desired: &Ruleset) -> Result<usize, ApplyError> {
        let table = &desired.table;
        match self.commit(&replacement(desired)) {
            Err(ApplyError::Refused { source: netpol_nft::Error::TooLarge { .. }, .. }) => {
                // What pods depend on comes last: until then they are closed.
                let closed = compile::closed(desired);
                let rest = diff(&closed, desired).unwrap_or_else(|error| unreachable!("a part of it differs: {error}"));
                Ok(self.commit(&replacement(&closed))? + self.write(table, &rest)?)
            }
            committed => committed,
        }
    }

    /// Writes a difference, in [its steps](Delta::steps) if the kernel takes as much at once, in more otherwise.
    fn write(&mut self, table: &Table, delta: &Delta) -> Result<usize, ApplyError> {
        let mut operations = 0;
        for step in delta.steps(table) {
            match self.commit(&step) {
                Err(ApplyError::Refused { source: netpol_nft::Error::TooLarge { limit, .. }, .. })
                    if operations == 0 =>
                {
                    let parts = delta.parts(table, limit);
                    tracing::warn!(limit, transactions = parts.len(), "more than one transaction holds here");
                    return parts.iter().map(|part| self.commit(part)).sum();
                }
                committed => operations += committed?,
            }
        }
        Ok(operations)
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<usize, ApplyError> {
        let operations = transaction.len();
        match self.connection.apply(transaction) {
            Ok(()) => Ok(operations),
            Err(source) => Err(ApplyError::Refused { table: transaction.table().clone(), operations, source }),
        }
    }
}
