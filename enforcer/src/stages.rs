//! The stages between the world and the kernel, which a program that embeds the enforcer may wrap.

use netpol_nft::Ruleset;

use crate::apply::{Applied, ApplyError, Kernel};
use crate::compile::{self, Site};
use crate::world::World;

/// What happens between the world and the kernel. The methods that are provided are the enforcer; [`Product`] uses them
/// as they are.
pub trait Stages {
    /// Makes the ruleset of a site.
    fn compile(&self, world: &World, site: &Site) -> Ruleset {
        compile::compile(world, site)
    }

    /// Makes the kernel hold a ruleset.
    fn apply(&self, kernel: &mut Kernel, ruleset: Ruleset) -> Result<Applied, ApplyError> {
        kernel.apply(ruleset)
    }
}

/// The stages of `netpol enforcer`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Product;

impl Stages for Product {}
