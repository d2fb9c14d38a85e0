//! Whether an executable can be all that an image holds: by its ELF headers, before anything is written.

use std::fs;
use std::path::Path;

use object::Endianness;
use object::elf::{self, FileHeader64};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _};

use crate::{ImageError, Platform};

/// What is wrong with an executable, before it has a path and a platform to be said with.
#[derive(Debug, PartialEq, Eq)]
enum Unfit {
    /// It is something else.
    Is(String),
    /// It is not alone.
    Needs(String),
}

/// Reads a static executable for a platform.
///
/// # Errors
/// A file that cannot be read; one that is no executable for the platform; one that needs an interpreter or a library.
pub(crate) fn read(path: &Path, platform: Platform) -> Result<Vec<u8>, ImageError> {
    let bytes = fs::read(path).map_err(|source| ImageError::File {
        action: "read the executable",
        path: path.to_owned(),
        source,
    })?;
    match inspect(&bytes, platform) {
        Ok(()) => Ok(bytes),
        Err(Unfit::Is(found)) => Err(ImageError::OtherPlatform { executable: path.to_owned(), found, platform }),
        Err(Unfit::Needs(needs)) => Err(ImageError::NotStatic { executable: path.to_owned(), needs, platform }),
    }
}

fn inspect(bytes: &[u8], platform: Platform) -> Result<(), Unfit> {
    let foreign = |_| Unfit::Is("not a 64-bit ELF executable".to_owned());
    let damaged = |error: object::Error| Unfit::Is(format!("a damaged ELF file ({error})"));
    let header = FileHeader64::<Endianness>::parse(bytes).map_err(foreign)?;
    let endian = header.endian().map_err(damaged)?;

    // Linux leaves the field at System V, or says GNU where a symbol is resolved at start.
    let abi = header.e_ident().os_abi;
    if ![elf::ELFOSABI_SYSV, elf::ELFOSABI_LINUX].contains(&abi) {
        return Err(Unfit::Is(format!("for another system than Linux ({abi:?})")));
    }
    let machine = header.e_machine(endian);
    if machine != platform.machine() || header.is_big_endian() {
        return Err(Unfit::Is(format!("for another architecture ({machine:?})")));
    }
    let kind = header.e_type(endian);
    if ![elf::ET_EXEC, elf::ET_DYN].contains(&kind) || header.e_entry(endian) == 0 {
        return Err(Unfit::Is(format!("an ELF file that cannot be started ({kind:?})")));
    }
    for segment in header.program_headers(endian, bytes).map_err(damaged)? {
        if let Some(interpreter) = segment.interpreter(endian, bytes).map_err(damaged)? {
            let interpreter = String::from_utf8_lossy(interpreter);
            return Err(Unfit::Needs(format!("the program interpreter {interpreter}")));
        }
        let dynamic = segment.dynamic(endian, bytes).map_err(damaged)?.unwrap_or_default();
        if dynamic.iter().any(|entry| entry.d_tag(endian) == elf::DT_NEEDED) {
            return Err(Unfit::Needs("shared libraries".to_owned()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offsets of fields in the header of a 64-bit ELF file.
    const OS_ABI: usize = 7;
    const TYPE: usize = 16;
    const MACHINE: usize = 18;
    const ENTRY: usize = 24;

    /// The header of a little-endian executable that starts somewhere and has no segments.
    fn header() -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        bytes[TYPE] = 2;
        bytes[MACHINE] = 62;
        bytes[20] = 1;
        bytes[ENTRY] = 0x40;
        bytes
    }

    fn with(offset: usize, value: u8) -> Vec<u8> {
        let mut bytes = header();
        bytes[offset] = value;
        bytes
    }

    fn said(bytes: &[u8], platform: Platform) -> String {
        match inspect(bytes, platform) {
            Ok(()) => "fit".to_owned(),
            Err(Unfit::Is(what) | Unfit::Needs(what)) => what,
        }
    }

    #[test]
    fn an_executable_alone_is_fit_for_its_platform_only() {
        assert_eq!(said(&header(), Platform::LinuxAmd64), "fit");
        assert!(said(&header(), Platform::LinuxArm64).contains("EM_X86_64"));
        assert!(said(&with(MACHINE, 183), Platform::LinuxAmd64).contains("EM_AARCH64"));
        assert_eq!(said(&with(MACHINE, 183), Platform::LinuxArm64), "fit");
    }

    #[test]
    fn what_linux_would_not_start_is_refused() {
        assert!(said(&with(OS_ABI, 9), Platform::LinuxAmd64).contains("FREEBSD"));
        assert!(said(&with(TYPE, 1), Platform::LinuxAmd64).contains("ET_REL"));
        assert!(said(&with(TYPE, 4), Platform::LinuxAmd64).contains("ET_CORE"));
        assert!(said(&with(ENTRY, 0), Platform::LinuxAmd64).contains("cannot be started"));
        assert!(said(&with(4, 1), Platform::LinuxAmd64).contains("not a 64-bit ELF"));
        assert!(said(b"#!/bin/sh\n", Platform::LinuxAmd64).contains("not a 64-bit ELF"));
        assert!(said(b"", Platform::LinuxAmd64).contains("not a 64-bit ELF"));
    }

    #[test]
    fn a_damaged_file_is_refused() {
        // Segments far beyond the end.
        let mut bytes = header();
        bytes[32..40].copy_from_slice(&0x1000_u64.to_le_bytes());
        bytes[54] = 56;
        bytes[56] = 3;
        assert!(said(&bytes, Platform::LinuxAmd64).contains("damaged"));
    }
}
