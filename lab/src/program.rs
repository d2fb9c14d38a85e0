//! Starting a program without a copy of this process. `fork` would mark every page of the lab's memory for copying, and
//! the lab would pay for each as it goes on working; `posix_spawn` shares the memory until the program has replaced it.
//! Where the program starts (namespaces, root, directory, capabilities) is where the calling thread is.

#![allow(
    unsafe_code,
    reason = "posix_spawn is a function of the C library, and takes pointers; each use says why they are good"
)]

use std::collections::BTreeMap;
use std::ffi::{CString, c_char};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use libc::{POSIX_SPAWN_SETSID, POSIX_SPAWN_SETSIGDEF, POSIX_SPAWN_SETSIGMASK};
use rustix::process::Pid;

/// A program with its arguments, its variables and its standard streams.
#[derive(Debug)]
pub(crate) struct Program {
    path: CString,
    arguments: Vec<CString>,
    variables: Vec<CString>,
    streams: Streams,
}

/// What a program reads from and writes to.
#[derive(Debug)]
pub(crate) enum Streams {
    /// Standard input, output and error; `None` is /dev/null.
    Each([Option<OwnedFd>; 3]),
    /// A terminal, which controls the program's session.
    Terminal(OwnedFd),
}

impl Program {
    /// The program at `path`, with a command line that begins with its name.
    ///
    /// # Errors
    /// If a word or a variable has a zero byte in it.
    pub(crate) fn new(path: &Path, line: &[String], variables: &BTreeMap<String, String>) -> io::Result<Program> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let words = line.iter().skip(1).map(|word| Ok(CString::new(word.as_str())?));
        let arguments = std::iter::once(Ok(path.clone())).chain(words).collect::<io::Result<_>>()?;
        let variables = variables.iter().map(|(key, value)| Ok(CString::new(format!("{key}={value}"))?));
        let streams = Streams::Each([None, None, None]);
        Ok(Program { path, arguments, variables: variables.collect::<io::Result<_>>()?, streams })
    }

    /// The same with other streams.
    pub(crate) fn with(self, streams: Streams) -> Program {
        Program { streams, ..self }
    }

    /// Starts it as the leader of a session of its own, with every signal at its default.
    ///
    /// # Errors
    /// Why the kernel does not run it, such as that there is no such file.
    pub(crate) fn start(self) -> io::Result<Pid> {
        let mut actions = FileActions::new()?;
        match &self.streams {
            Streams::Each(streams) => {
                for (number, stream) in (0..).zip(streams) {
                    match stream {
                        Some(stream) => actions.duplicate(stream.as_raw_fd(), number)?,
                        None => actions.open(number, c"/dev/null".to_owned())?,
                    }
                }
            }
            Streams::Terminal(terminal) => {
                // The first terminal that a session's leader opens becomes the session's. By descriptor, because
                // /dev/pts may be another instance.
                actions.open(0, CString::new(format!("/proc/self/fd/{}", terminal.as_raw_fd()))?)?;
                actions.duplicate(0, 1)?;
                actions.duplicate(0, 2)?;
            }
        }
        let attributes = Attributes::new()?;
        let (arguments, variables) = (pointers(&self.arguments), pointers(&self.variables));
        let mut pid = 0;
        // SAFETY: every string ends with a zero, every list with a null pointer; they and the two objects, which are
        // initialised, outlive the call.
        let result = unsafe {
            libc::posix_spawn(
                &raw mut pid,
                self.path.as_ptr(),
                &raw const actions.list,
                &raw const attributes.0,
                arguments.as_ptr(),
                variables.as_ptr(),
            )
        };
        checked(result)?;
        Pid::from_raw(pid).ok_or_else(|| io::Error::other("posix_spawn gave no process"))
    }
}

/// The strings as C programs take them. The caller keeps the strings.
fn pointers(strings: &[CString]) -> Vec<*mut c_char> {
    strings.iter().map(|string| string.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect()
}

fn checked(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result)) }
}

/// What is done with descriptors before the program starts.
struct FileActions {
    list: libc::posix_spawn_file_actions_t,
    /// Paths that the list may point to.
    paths: Vec<CString>,
}

impl FileActions {
    fn new() -> io::Result<FileActions> {
        let mut list = MaybeUninit::uninit();
        // SAFETY: the call initialises what the pointer leads to, and is looked at only where it has succeeded.
        checked(unsafe { libc::posix_spawn_file_actions_init(list.as_mut_ptr()) })?;
        // SAFETY: as above.
        Ok(FileActions { list: unsafe { list.assume_init() }, paths: Vec::new() })
    }

    fn duplicate(&mut self, from: i32, to: i32) -> io::Result<()> {
        // SAFETY: the list is initialised.
        checked(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.list, from, to) })
    }

    fn open(&mut self, number: i32, path: CString) -> io::Result<()> {
        // SAFETY: the list is initialised, and the path lives as long as it.
        checked(unsafe {
            libc::posix_spawn_file_actions_addopen(&raw mut self.list, number, path.as_ptr(), libc::O_RDWR, 0)
        })?;
        self.paths.push(path);
        Ok(())
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: it is initialised and not used again.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.list) };
    }
}

/// A session of its own, no signal blocked, none ignored.
struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Attributes> {
        let mut attributes = MaybeUninit::uninit();
        let (mut every, mut none) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: each call initialises what its first pointer leads to; the sets cannot fail, and attributes are
        // looked at only where their call has succeeded.
        unsafe {
            libc::sigfillset(every.as_mut_ptr());
            libc::sigemptyset(none.as_mut_ptr());
            checked(libc::posix_spawnattr_init(attributes.as_mut_ptr()))?;
            let mut made = Attributes(attributes.assume_init());
            // The Rust runtime ignores SIGPIPE, and what is ignored stays ignored in the program.
            checked(libc::posix_spawnattr_setsigdefault(&raw mut made.0, every.as_ptr()))?;
            checked(libc::posix_spawnattr_setsigmask(&raw mut made.0, none.as_ptr()))?;
            let flags = POSIX_SPAWN_SETSID as i32 | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;
            checked(libc::posix_spawnattr_setflags(&raw mut made.0, flags as libc::c_short))?;
            Ok(made)
        }
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: they are initialised and not used again.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}
