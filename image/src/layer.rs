//! The one layer of the image: what its containers see as their root.

use std::io;

use tar::{Builder, EntryType, Header};

/// Where the executable is.
pub(crate) const NETPOL: &str = "/bin/netpol";
/// What PATH holds.
pub(crate) const PATH: &str = "/bin";

/// The layer's tar file, uncompressed: registries' tools compress what they push, and loading is faster without.
pub(crate) fn layer(executable: &[u8]) -> io::Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::with_capacity(executable.len() + 8 * 1024));
    tar.append_data(&mut header(EntryType::Directory, 0o755, 0), "bin/", io::empty())?;
    tar.append_data(&mut header(EntryType::Regular, 0o755, executable.len()), "bin/netpol", executable)?;
    // The executable sees by its name that it is to be ping.
    tar.append_link(&mut header(EntryType::Symlink, 0o777, 0), "bin/ping", "netpol")?;
    tar.into_inner()
}

/// An entry that depends on nothing but its content: owned by root, from 1970.
pub(crate) fn header(kind: EntryType, mode: u32, size: usize) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size as u64);
    header
}
