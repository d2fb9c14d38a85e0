//! A listener that refuses connections for a while and then accepts them again, at the same address.

use std::io;
use std::net::TcpListener;

use rustix::io::Errno;
use rustix::net::{Shutdown, bind, listen, shutdown};
use tokio::time::Instant;

/// Connections that may wait to be accepted, as `std` has it.
const BACKLOG: i32 = 128;

/// Another handle to the same socket, for a server that closes its own.
///
/// # Errors
/// If the process has no descriptor left.
pub(crate) fn share(listener: &TcpListener) -> io::Result<TcpListener> {
    let shared = listener.try_clone()?;
    shared.set_nonblocking(true)?;
    Ok(shared)
}

/// Refuses connections until the time has come. A socket of another network namespace could not be made anew, so this
/// one is taken out of its listening state and put back.
///
/// # Errors
/// If the address is lost meanwhile.
pub(crate) async fn refuse(listener: &TcpListener, until: Instant) -> io::Result<()> {
    let address = listener.local_addr()?;
    shutdown(listener, Shutdown::Both)?;
    // A port that the kernel chose is given up by that; one that was asked for is kept.
    match bind(listener, &address) {
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    tokio::time::sleep_until(until).await;
    listen(listener, BACKLOG)?;
    Ok(())
}
