//! What a mutant is, and how it stands between the enforcer's stages.

use std::cell::RefCell;

use k8s_openapi::api::networking::v1::NetworkPolicySpec;
use netpol_enforcer::apply::{Applied, ApplyError, Desired, Kernel};
use netpol_enforcer::compile::{Site, compile};
use netpol_enforcer::world::World;
use netpol_enforcer::{PolicyReader, Stages};
use netpol_nft::Ruleset;
use serde::Serialize;

use crate::reading;

/// An enforcer with one bug.
#[derive(Serialize)]
pub(crate) struct Mutant {
    /// What `--mutant` takes.
    pub(crate) name: &'static str,
    /// The rules that it breaks and the pitfalls that it falls into, separated by spaces.
    pub(crate) breaks: &'static str,
    /// What is wrong with it, in one sentence.
    pub(crate) does: &'static str,
    /// What sees it where no case can: a test of the enforcer, or a measurement.
    pub(crate) seen_by: Option<&'static str>,
    #[serde(skip)]
    pub(crate) bug: Bug,
}

/// Where the bug is.
pub(crate) enum Bug {
    /// In reading policies.
    Reading(fn(&mut NetworkPolicySpec)),
    /// In what is made of pods, namespaces and policies.
    World(fn(&mut World, &Site)),
    /// In the rules for the kernel.
    Ruleset(fn(&World, &mut Ruleset)),
    /// In what is kept from one change to the next.
    Memory(fn() -> Box<dyn Memory>),
}

/// A bug that depends on what came before.
pub(crate) trait Memory {
    /// What the node is to hold.
    fn compile(&mut self, world: &World, site: &Site) -> Ruleset {
        compile(world, site)
    }

    /// Makes the kernel hold it.
    fn apply(&mut self, kernel: &mut Kernel, desired: Desired<'_>) -> Result<Applied, ApplyError> {
        kernel.enforce(desired)
    }
}

impl Mutant {
    pub(crate) const fn new(name: &'static str, breaks: &'static str, does: &'static str, bug: Bug) -> Self {
        Self { name, breaks, does, seen_by: None, bug }
    }

    /// No case can see it, but this does.
    pub(crate) const fn seen_by(self, what: &'static str) -> Self {
        Self { seen_by: Some(what), ..self }
    }
}

/// The enforcer's stages with a mutant between them.
pub(crate) struct Broken {
    mutant: &'static Mutant,
    memory: RefCell<Option<Box<dyn Memory>>>,
}

impl Broken {
    pub(crate) fn by(mutant: &'static Mutant) -> Self {
        let memory = match mutant.bug {
            Bug::Memory(new) => Some(new()),
            _ => None,
        };
        Self { mutant, memory: RefCell::new(memory) }
    }
}

impl Stages for Broken {
    fn policy_reader(&self) -> PolicyReader {
        match self.mutant.bug {
            Bug::Reading(bend) => reading::reader(bend),
            _ => netpol_enforcer::Product.policy_reader(),
        }
    }

    fn compile(&self, world: &World, site: &Site) -> Option<Ruleset> {
        match (&self.mutant.bug, self.memory.borrow_mut().as_mut()) {
            (_, Some(memory)) => Some(memory.compile(world, site)),
            (Bug::World(bend), None) => {
                let mut world = world.clone();
                bend(&mut world, site);
                Some(compile(&world, site))
            }
            (Bug::Ruleset(bend), None) => {
                let mut ruleset = compile(world, site);
                bend(world, &mut ruleset);
                Some(ruleset)
            }
            (Bug::Reading(_) | Bug::Memory(_), None) => None,
        }
    }

    fn apply(&self, kernel: &mut Kernel, desired: Desired<'_>) -> Result<Applied, ApplyError> {
        match self.memory.borrow_mut().as_mut() {
            Some(memory) => memory.apply(kernel, desired),
            None => kernel.enforce(desired),
        }
    }
}
