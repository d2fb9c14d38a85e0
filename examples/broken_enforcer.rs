//! Enforcers with one bug each, to show that the suite catches them. Each wraps a stage of the real one from outside:
//! there is no switch in `netpol` that weakens enforcement.
//!
//! ```text
//! broken_enforcer --list
//! broken_enforcer --mutant ignores-egress --kubeconfig FILE --node NAME …
//! ```

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use netpol_enforcer::apply::{Applied, ApplyError, Desired, Kernel};
use netpol_enforcer::compile::{Site, chain_name, compile};
use netpol_enforcer::world::{Direction, Peer, Policy, World};
use netpol_enforcer::{EnforcerArgs, Stages, run_with};
use netpol_nft::{CtDirection, CtState, Rule, Ruleset};

#[derive(Parser)]
#[command(about = "An enforcer with a bug")]
struct Arguments {
    /// The bug.
    #[arg(long)]
    mutant: Mutant,
    /// Print the names of the bugs, one per line, and end.
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    enforcer: EnforcerArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mutant {
    /// Nothing is forwarded from or to pods, whatever the policies say.
    DropsEverything,
    /// Egress rules and isolation have no effect.
    IgnoresEgress,
    /// An except denies its addresses for all policies of a pod, where it should limit its own peer (P9).
    ExceptDenies,
    /// Established connections are judged by the policies again; only replies pass unseen (N63, P1).
    CutsEstablished,
    /// One base chain for both directions, so that accepted egress skips the ingress of a pod on the same node (P40).
    SkipsSameNodeIngress,
    /// Every change reaches the kernel 400 ms late.
    ReactsLate,
}

impl Stages for Mutant {
    fn compile(&self, world: &World, site: &Site) -> Option<Ruleset> {
        Some(match self {
            Self::DropsEverything => drops_everything(compile(world, site)),
            Self::IgnoresEgress => compile(&without_egress(world), site),
            Self::ExceptDenies => except_denies(world, compile(world, site)),
            Self::CutsEstablished => cuts_established(compile(world, site)),
            Self::SkipsSameNodeIngress => skips_same_node_ingress(compile(world, site)),
            Self::ReactsLate => return None,
        })
    }

    fn apply(&self, kernel: &mut Kernel, desired: Desired<'_>) -> Result<Applied, ApplyError> {
        if *self == Self::ReactsLate {
            std::thread::sleep(Duration::from_millis(400));
        }
        kernel.enforce(desired)
    }
}

/// The rules of a chain of the real enforcer. That it has the chain is what the mutant relies on.
fn rules<'a>(ruleset: &'a mut Ruleset, chain: &str) -> &'a mut Vec<Rule> {
    let Some((_, rules)) = ruleset.chains.get_mut(chain) else {
        panic!("the enforcer has no chain {chain} any more; this mutant has to follow");
    };
    rules
}

fn drops_everything(mut ruleset: Ruleset) -> Ruleset {
    for chain in ["egress", "ingress"] {
        *rules(&mut ruleset, chain) = vec![Rule::new().drop()];
    }
    ruleset
}

fn without_egress(world: &World) -> World {
    let mut world = world.clone();
    world.policies.values_mut().for_each(|policy| policy.egress = None);
    world
}

fn except_denies(world: &World, mut ruleset: Ruleset) -> Ruleset {
    for policy in world.policies.values() {
        for direction in Direction::BOTH {
            let jump = Rule::new().jump(chain_name("policy", &policy.key, direction));
            let denials = denials(policy, direction);
            for (_, rules) in ruleset.chains.values_mut().filter(|(_, rules)| rules.contains(&jump)) {
                rules.splice(0..0, denials.iter().cloned());
            }
        }
    }
    ruleset
}

fn denials(policy: &Policy, direction: Direction) -> Vec<Rule> {
    let peers = policy.rules(direction).into_iter().flatten().flat_map(|rule| rule.peers.iter().flatten());
    let excepts = peers.filter_map(|peer| match peer {
        Peer::Block(block) => Some(&block.except),
        Peer::Pods { .. } => None,
    });
    excepts
        .flatten()
        .map(|except| match (except, direction) {
            (ipnet::IpNet::V4(except), Direction::Ingress) => Rule::new().ip_saddr(*except).drop(),
            (ipnet::IpNet::V4(except), Direction::Egress) => Rule::new().ip_daddr(*except).drop(),
            (ipnet::IpNet::V6(except), Direction::Ingress) => Rule::new().ip6_saddr(*except).drop(),
            (ipnet::IpNet::V6(except), Direction::Egress) => Rule::new().ip6_daddr(*except).drop(),
        })
        .collect()
}

fn cuts_established(mut ruleset: Ruleset) -> Ruleset {
    let states = [CtState::Established, CtState::Related];
    let (all, replies) = (
        Rule::new().ct_state(&states).accept(),
        Rule::new().ct_state(&states).ct_direction(CtDirection::Reply).accept(),
    );
    for chain in ["egress", "ingress", "input"] {
        let rules = rules(&mut ruleset, chain);
        let Some(rule) = rules.iter_mut().find(|rule| **rule == all) else {
            panic!("chain {chain} does not accept established connections any more; this mutant has to follow");
        };
        *rule = replies.clone();
    }
    ruleset
}

fn skips_same_node_ingress(mut ruleset: Ruleset) -> Ruleset {
    let ingress = rules(&mut ruleset, "ingress").clone();
    let established = ingress.first().cloned();
    *rules(&mut ruleset, "egress") = established
        .into_iter()
        .chain([Rule::new().iifname_not_in("uplinks").jump("from-pod")])
        .chain(ingress.into_iter().skip(1))
        .collect();
    ruleset.chains.remove("ingress");
    ruleset
}

fn main() -> anyhow::Result<ExitCode> {
    // Before parsing, because the enforcer's own arguments are required for everything else.
    if std::env::args().any(|argument| argument == "--list") {
        for mutant in Mutant::value_variants() {
            println!("{}", mutant.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default());
        }
        return Ok(ExitCode::SUCCESS);
    }
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let Arguments { mutant, list: _, enforcer } = Arguments::parse();
    tracing::warn!(?mutant, "this enforcer is broken on purpose");
    run_with(enforcer, &mutant)
}
