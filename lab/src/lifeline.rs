//! The pipe whose end ends the lab: the parent holds its only write end, and whatever ends the parent closes it.

use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, pipe_with};

use crate::namespaces::exit_now;

/// The parent's end. Dropping it ends the lab.
#[derive(Debug)]
pub(crate) struct Lifeline {
    _write: OwnedFd,
}

/// The end in the lab's init.
#[derive(Debug)]
pub(crate) struct Watched(OwnedFd);

/// A new lifeline. Neither end survives an exec, so no child of either side holds one.
pub(crate) fn lifeline() -> io::Result<(Lifeline, Watched)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((Lifeline { _write: write }, Watched(read)))
}

impl Watched {
    /// Ends this process, and as it is the first of its PID namespace every process of the lab, when the parent is
    /// gone. `before` runs first and must be short.
    pub(crate) fn watch(self, before: impl FnOnce() + Send + 'static) -> io::Result<()> {
        std::thread::Builder::new().name("lifeline".into()).spawn(move || {
            let mut byte = [0];
            while matches!(rustix::io::read(&self.0, &mut byte), Ok(1..) | Err(rustix::io::Errno::INTR)) {}
            before();
            exit_now(0)
        })?;
        Ok(())
    }
}
