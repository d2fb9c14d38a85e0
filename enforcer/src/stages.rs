//! The stages between the API server and the kernel, which a program that embeds the enforcer may wrap.

use netpol_nft::Ruleset;

use crate::apply::{Applied, ApplyError, Desired, Kernel};
use crate::compile::Site;
use crate::world::{Policy, RawPolicy, World};

/// Reads a policy as the API server tells it.
pub type PolicyReader = Box<dyn Fn(&RawPolicy) -> Policy + Send>;

/// What happens between the API server and the kernel. The methods that are provided are the enforcer; [`Product`] uses them
/// as they are.
pub trait Stages {
    /// What makes of the API server's policies what the world keeps of them.
    fn policy_reader(&self) -> PolicyReader {
        Box::new(Policy::read_raw)
    }

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
