//! Makes the kernel hold a ruleset: one atomic transaction per change.

use std::time::{Duration, Instant};

use netpol_nft::{Connection, Ruleset, Table};

use crate::diff::{Redefined, diff, replacement};

/// The kernel's side: the connection to it, and what it holds by our last transaction.
#[derive(Debug)]
pub struct Kernel {
    connection: Connection,
    held: Option<Ruleset>,
}

/// What a change came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Operations in the transaction; none if the kernel held the ruleset already.
    pub operations: usize,
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
    /// The tables could not be listed.
    #[error("cannot list the tables of nftables: {0}")]
    List(#[source] netpol_nft::Error),
    /// The ruleset contradicts itself.
    #[error(transparent)]
    Redefined(#[from] Redefined),
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
    /// Connects. Nothing is written, and what the kernel holds is not taken for ours until a transaction has replaced it.
    pub fn open() -> Result<Self, ApplyError> {
        Ok(Self { connection: Connection::open().map_err(ApplyError::Connect)?, held: None })
    }

    /// The connection, for the self-test.
    pub(crate) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Whether the inet table of this name is there, made by this process or by another.
    pub fn has_table(&mut self, name: &str) -> Result<bool, ApplyError> {
        let tables = self.connection.tables().map_err(ApplyError::List)?;
        Ok(tables.contains(&Table::inet(name)))
    }

    /// Forgets what the kernel is thought to hold: the next ruleset replaces whatever is there.
    pub(crate) fn forget(&mut self) {
        self.held = None;
    }

    /// Brings the kernel from what it holds to this ruleset, in one transaction. If it refuses the difference, somebody has
    /// changed the table: all of it is replaced, again in one transaction, so that nothing is open or cut in between.
    pub fn apply(&mut self, desired: Ruleset) -> Result<Applied, ApplyError> {
        let start = Instant::now();
        let mut applied = None;
        if let Some(held) = &self.held {
            match diff(held, &desired) {
                Ok(transaction) if transaction.is_empty() => applied = Some((0, false)),
                Ok(transaction) => match self.connection.apply(&transaction) {
                    Ok(()) => applied = Some((transaction.len(), false)),
                    Err(error) => tracing::error!(%error, "the kernel refused a change; replacing the whole table"),
                },
                Err(error) => tracing::warn!(%error, "replacing the whole table"),
            }
        }
        let (operations, replaced) = match applied {
            Some(applied) => applied,
            None => {
                self.held = None;
                (self.replace(&desired)?, true)
            }
        };
        self.held = Some(desired);
        Ok(Applied { operations, replaced, took: start.elapsed() })
    }

    /// Replaces the table, whatever it holds, by this ruleset.
    fn replace(&mut self, desired: &Ruleset) -> Result<usize, ApplyError> {
        let transaction = replacement(desired)?;
        let operations = transaction.len();
        self.connection.apply(&transaction).map_err(|source| ApplyError::Refused {
            table: desired.table.clone(),
            operations,
            source,
        })?;
        Ok(operations)
    }
}
