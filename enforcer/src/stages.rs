//! The stages between the world and the kernel, which a program that embeds the enforcer may wrap.

use netpol_nft::Ruleset;

use crate::apply::{Applied, ApplyError, Desired, Kernel};
use crate::compile::Site;
use crate::world::World;

/// What happens between the world and the kernel. The methods that are provided are the enforcer; [`Product`] uses them
/// as they are.
pub trait Stages {
    /// The ruleset of a site, compiled as a whole after every change. None leaves it to
    /// [`Incremental`](crate::compile::Incremental), as the enforcer does.
    fn compile(&self, _world: &World, _site: &Site) -> Option<Ruleset> {
        None
    }

    /// Makes the kernel hold what is desired.
    fn apply(&self, kernel: &mut Kernel, desired: Desired<'_>) -> Result<Applied, ApplyError> {
        kernel.enforce(desired)
    }
}

/// The stages of `netpol enforcer`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Product;

impl Stages for Product {}
