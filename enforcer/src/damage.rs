//! Notices when somebody else has changed our table.

use std::time::Duration;

use netpol_nft::{Monitor, Notification, Table};
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// How long news are collected before the table is compared: whoever writes again and again is answered once.
const COLLECT: Duration = Duration::from_millis(100);
/// The same where nobody knows whether our table is meant: at first, and where news came faster than they were read, as others'
/// large transactions do.
const UNCERTAIN: Duration = Duration::from_secs(2);
/// How often the table is compared without any news. It takes as long as reading all of it.
const UNASKED: Duration = Duration::from_secs(600);

/// The news of nftables about one table.
#[derive(Debug)]
pub(crate) struct Damage {
    news: AsyncFd<Monitor>,
    table: Table,
    /// The netlink port whose changes are our own.
    own: u32,
    due: Instant,
}

impl Damage {
    /// Subscribes to what others than the owner of the netlink port do to the table.
    ///
    /// # Errors
    /// The kernel refuses the subscription.
    pub(crate) fn watch(table: Table, own: u32) -> anyhow::Result<Self> {
        #[expect(
            deprecated,
            reason = "a monitor keeps its one socket as long as it lives, and the alternative is unsafe"
        )]
        let news = AsyncFd::new(Monitor::open()?)?;
        Ok(Self { news, table, own, due: Instant::now() + UNCERTAIN })
    }

    /// Waits until it is time to compare the table with what it should hold. It can be dropped and called again.
    pub(crate) async fn suspected(&mut self) {
        loop {
            tokio::select! {
                ready = self.news.readable_mut() => {
                    let Ok(mut ready) = ready else { return std::future::pending().await };
                    let mut due = self.due;
                    loop {
                        match ready.get_inner_mut().read() {
                            Ok(Some(Notification::Changed { port, tables, program, .. })) => {
                                if port != self.own && tables.contains(&self.table) {
                                    let program = program.unwrap_or_default();
                                    tracing::warn!(table = %self.table, program, "somebody else has changed our table");
                                    due = due.min(Instant::now() + COLLECT);
                                }
                            }
                            Ok(Some(Notification::Lost)) => due = due.min(Instant::now() + UNCERTAIN),
                            Ok(None) => break,
                            Err(error) => {
                                tracing::error!(%error, "news of nftables are lost");
                                due = due.min(Instant::now() + UNCERTAIN);
                                break;
                            }
                        }
                    }
                    ready.clear_ready();
                    self.due = due;
                }
                () = tokio::time::sleep_until(self.due) => {
                    self.due = Instant::now() + UNASKED;
                    return;
                }
            }
        }
    }
}
