//! A case: a world and what becomes of it, step by step, and what the kernel and the oracle make of packets at each step.

use std::fmt;

use netpol_oracle::{Judgement, Specification};

use crate::change::changed;
use crate::enforcer::Enforcer;
use crate::exchange::Exchange;
use crate::flows::{Attempt, attempts, judge};
use crate::generate::Generator;
use crate::sabotage::Sabotage;
use crate::world::World;

/// Something is wrong with what is in force.
#[derive(Clone, Debug)]
pub(crate) struct Difference {
    /// In what order the enforcer has seen worlds, after the empty one; it shows at the last.
    pub(crate) steps: Vec<World>,
    pub(crate) wrong: Wrong,
    rules: String,
}

#[derive(Clone, Debug)]
pub(crate) enum Wrong {
    /// Kernel and oracle do not agree about a packet.
    Verdict { attempt: Attempt, kernel_passes: bool, judgement: Box<Judgement> },
    /// All rules were replaced where a difference should have led from the world before to this one.
    Replaced,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, world) in self.steps.iter().enumerate() {
            writeln!(f, "# world {} of {}", index + 1, self.steps.len())?;
            f.write_str(&serde_yaml::to_string(world).map_err(|_| fmt::Error)?)?;
        }
        match &self.wrong {
            Wrong::Replaced => writeln!(f, "# no difference led to the last world: all rules were replaced")?,
            Wrong::Verdict { attempt: Attempt { flow, from, to }, kernel_passes, judgement } => {
                let word = |passes: bool| if passes { "lets it pass" } else { "drops it" };
                writeln!(f, "# packet: {} ({from}) to {} ({to}), {:?}", flow.from, flow.to, flow.traffic)?;
                writeln!(f, "# the kernel {}", word(*kernel_passes))?;
                writeln!(f, "# the oracle {}: {}", word(!kernel_passes), judgement.reason)?;
                let cited: Vec<String> = judgement.rules.iter().map(ToString::to_string).collect();
                writeln!(f, "# by {}", cited.join(", "))?;
            }
        }
        writeln!(f, "# the rules in force at the end:\n{}", self.rules)
    }
}

/// The tested node with everything around it.
pub(crate) struct Stand {
    enforcer: Enforcer,
    exchange: Exchange,
    /// What the enforcer saw last.
    last: World,
}

impl Stand {
    pub(crate) fn new(exchange: Exchange, sabotage: Option<Sabotage>) -> Self {
        let mut enforcer = Enforcer::new(sabotage);
        enforcer.follow(&World::default());
        Self { enforcer, exchange, last: World::default() }
    }

    /// The same node with an enforcer that is broken otherwise.
    pub(crate) fn sabotaged(self, sabotage: Sabotage) -> Self {
        Self::new(self.exchange, Some(sabotage))
    }

    /// Walks through the case of this seed. Gives how many worlds there were and how many packets were tried, or the first difference.
    pub(crate) fn case(&mut self, seed: u64) -> Result<(u64, u64), Box<Difference>> {
        let mut generator = Generator::new(seed);
        let changes = if generator.chance(50) { 0 } else { generator.random.usize(1..=3) };
        let mut steps = vec![generator.world()];
        let mut tried = 0;
        let before = self.last.clone();
        if self.follow(&World::default()) {
            return Err(self.difference(vec![before, World::default()], Wrong::Replaced));
        }
        loop {
            let world = steps.last().expect("there is one at least").clone();
            if self.follow(&world) {
                return Err(self.difference(steps, Wrong::Replaced));
            }
            let specification = Specification::new(&world.cluster()).unwrap_or_else(|invalid| {
                panic!("seed {seed} makes a policy that the API server refuses: {invalid:?}")
            });
            let attempts = attempts(&mut generator, &world);
            tried += attempts.len() as u64;
            if let Some(wrong) = self.wrong_verdict(&specification, &attempts) {
                return Err(self.difference(steps, wrong));
            }
            if steps.len() > changes {
                return Ok((steps.len() as u64, tried));
            }
            steps.push(changed(&mut generator, &world));
        }
    }

    /// The same after these steps, if it is as wrong there; none where one of the packet's ends is missing, or more policies than
    /// so many are invalid.
    pub(crate) fn again(&mut self, steps: &[World], wrong: &Wrong, invalid: usize) -> Option<Box<Difference>> {
        let mut specification = None;
        for world in steps {
            specification = Some(Specification::new(&world.cluster()).ok()?);
        }
        let (specification, last) = (specification?, steps.last()?);
        // Otherwise what is left could be another difference: about what is invalid.
        if steps.iter().map(World::invalid_policies).sum::<usize>() > invalid {
            return None;
        }
        if let Wrong::Verdict { attempt, .. } = wrong {
            judge(&specification, attempt).filter(|_| attempt.is_of(last))?;
        }
        self.follow(&World::default());
        let mut replaced = false;
        for world in steps {
            replaced |= self.follow(world);
        }
        let found = match wrong {
            Wrong::Replaced => replaced.then_some(Wrong::Replaced),
            Wrong::Verdict { attempt, .. } => self.wrong_verdict(&specification, std::slice::from_ref(attempt)),
        };
        found.map(|wrong| self.difference(steps.to_vec(), wrong))
    }

    fn wrong_verdict(&mut self, specification: &Specification, attempts: &[Attempt]) -> Option<Wrong> {
        let numbered: Vec<_> = attempts.iter().map(|attempt| attempt.opening(self.exchange.fresh())).collect();
        let through = self.exchange.send(&numbered);
        attempts.iter().zip(numbered).find_map(|(attempt, packet)| {
            let (passes, judgement) = judge(specification, attempt)?;
            let kernel_passes = through.contains(&packet.number);
            let (attempt, judgement) = (attempt.clone(), Box::new(judgement));
            (passes != kernel_passes).then_some(Wrong::Verdict { attempt, kernel_passes, judgement })
        })
    }

    fn difference(&self, steps: Vec<World>, wrong: Wrong) -> Box<Difference> {
        Box::new(Difference { steps, wrong, rules: self.enforcer.rules() })
    }

    /// Whether all rules had to be replaced.
    fn follow(&mut self, world: &World) -> bool {
        self.last = world.clone();
        self.enforcer.follow(world).replaced
    }
}
