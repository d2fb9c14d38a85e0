//! What an image is for, and how a netpol for it is built.

use std::fmt;
use std::str::FromStr;

use object::elf;
use oci_spec::image::Arch;

/// The platforms that images are built for, by their names in the OCI specification (those of Go).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// `linux/amd64`
    LinuxAmd64,
    /// `linux/arm64`
    LinuxArm64,
}

/// A platform that images are not built for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no image can be built for '{0}'; expected linux/amd64 or linux/arm64")]
pub struct UnknownPlatform(String);

impl Platform {
    /// Linux on this machine's architecture.
    pub const fn native() -> Self {
        if cfg!(target_arch = "aarch64") { Self::LinuxArm64 } else { Self::LinuxAmd64 }
    }

    /// The architecture's name in the image.
    pub(crate) fn arch(self) -> Arch {
        match self {
            Self::LinuxAmd64 => Arch::Amd64,
            Self::LinuxArm64 => Arch::ARM64,
        }
    }

    /// The architecture's number in an ELF header.
    pub(crate) fn machine(self) -> elf::Machine {
        match self {
            Self::LinuxAmd64 => elf::EM_X86_64,
            Self::LinuxArm64 => elf::EM_AARCH64,
        }
    }

    /// The architecture's name in Rust's targets.
    fn rust_arch(self) -> &'static str {
        match self {
            Self::LinuxAmd64 => "x86_64",
            Self::LinuxArm64 => "aarch64",
        }
    }

    /// The commands that build a netpol for this platform and write its image, to be pasted.
    pub(crate) fn how_to_build(self) -> String {
        let arch = self.rust_arch();
        let (musl, gnu) = (format!("{arch}-unknown-linux-musl"), format!("{arch}-unknown-linux-gnu"));
        let variable = |target: &str| target.replace('-', "_");
        let native = self == Self::native() && cfg!(target_os = "linux");
        // The musl target brings its own C library; a C compiler is needed for the cryptography alone.
        let (compiler, linker) = match native {
            true => ("gcc".to_owned(), None),
            false => (format!("{arch}-linux-gnu-gcc"), Some(format!("{arch}-linux-gnu-gcc"))),
        };
        let with_linker = |target: &str| match &linker {
            Some(linker) => format!("CARGO_TARGET_{}_LINKER={linker} ", variable(target).to_uppercase()),
            None => String::new(),
        };
        let chosen = if native { String::new() } else { format!(" --platform {self}") };
        format!(
            "Build a static netpol for {self}, and let it be the image:\n\
             \x20 rustup target add {musl}\n\
             \x20 CC_{}={compiler} {}cargo build --release --target {musl}\n\
             \x20 netpol image build{chosen} --executable target/{musl}/release/netpol\n\
             Where that target cannot be installed:\n\
             \x20 RUSTFLAGS='-C target-feature=+crt-static' {}cargo build --release --target {gnu}\n\
             \x20 netpol image build{chosen} --executable target/{gnu}/release/netpol",
            variable(&musl),
            with_linker(&musl),
            with_linker(&gnu),
        )
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LinuxAmd64 => "linux/amd64",
            Self::LinuxArm64 => "linux/arm64",
        })
    }
}

impl FromStr for Platform {
    type Err = UnknownPlatform;

    fn from_str(text: &str) -> Result<Self, UnknownPlatform> {
        [Self::LinuxAmd64, Self::LinuxArm64]
            .into_iter()
            .find(|platform| platform.to_string() == text)
            .ok_or_else(|| UnknownPlatform(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_reads_back_as_it_is_written() {
        for platform in [Platform::LinuxAmd64, Platform::LinuxArm64] {
            assert_eq!(platform.to_string().parse(), Ok(platform));
        }
        assert!("darwin/arm64".parse::<Platform>().unwrap_err().to_string().contains("darwin/arm64"));
    }

    #[test]
    fn the_way_to_build_names_target_compiler_and_fallback() {
        let said = Platform::LinuxAmd64.how_to_build();
        for command in [
            "rustup target add x86_64-unknown-linux-musl",
            "CC_x86_64_unknown_linux_musl=",
            "cargo build --release --target x86_64-unknown-linux-musl",
            "RUSTFLAGS='-C target-feature=+crt-static'",
            "cargo build --release --target x86_64-unknown-linux-gnu",
        ] {
            assert!(said.contains(command), "{command} is missing in:\n{said}");
        }
    }

    #[test]
    fn a_build_for_another_machine_names_its_cross_compiler_and_platform() {
        let other = match Platform::native() {
            Platform::LinuxAmd64 => Platform::LinuxArm64,
            Platform::LinuxArm64 => Platform::LinuxAmd64,
        };
        let said = other.how_to_build();
        assert!(said.contains(&format!("{}-linux-gnu-gcc", other.rust_arch())), "{said}");
        assert!(said.contains(&format!("--platform {other}")), "{said}");
    }
}
