//! Random changes of a world, one object at a time, as an API server would tell of them.

use crate::generate::{Generator, typed};
use crate::policies;
use crate::world::{World, has_ended, is_host_network};

/// A world that differs from this one in one to three objects.
pub(crate) fn changed(generator: &mut Generator, world: &World) -> World {
    let mut world = world.clone();
    world.restarted = generator.chance(15);
    for _ in 0..generator.random.usize(1..=3) {
        change(generator, &mut world);
    }
    world
}

fn change(generator: &mut Generator, world: &mut World) {
    match generator.random.u8(..12) {
        0..2 => {
            let policy = policies::policy(generator, world);
            world.policies.push(policy);
        }
        2..4 if !world.policies.is_empty() => {
            world.policies.swap_remove(generator.random.usize(..world.policies.len()));
        }
        // The spec of one that is there changes.
        4 if !world.policies.is_empty() => {
            let spec = policies::policy(generator, world).spec;
            let index = generator.random.usize(..world.policies.len());
            world.policies[index].spec = spec;
            world.policies[index].metadata.generation = Some(i64::from(generator.next_number()));
        }
        5..7 => {
            let index = generator.random.usize(..world.namespaces.len());
            world.namespaces[index].metadata.labels = Some(typed(generator.labels().into()));
        }
        7..9 if !world.pods.is_empty() => {
            let index = generator.random.usize(..world.pods.len());
            world.pods[index].metadata.labels = Some(typed(generator.labels().into()));
        }
        9 if !world.pods.is_empty() => {
            let index = generator.random.usize(..world.pods.len());
            let gone = world.pods.swap_remove(index);
            // Often another takes its address at once, sometimes under the same name.
            if generator.chance(70) && !is_host_network(&gone) && !has_ended(&gone) {
                let same_name = generator.chance(40);
                if let Some(mut next) = generator.local_pod(world) {
                    if same_name {
                        next.metadata.namespace = gone.metadata.namespace;
                        next.metadata.name = gone.metadata.name;
                    }
                    world.pods.push(next);
                }
            }
        }
        10 if !world.pods.is_empty() => {
            let index = generator.random.usize(..world.pods.len());
            if let Some(status) = &mut world.pods[index].status {
                status.phase = Some("Succeeded".to_owned());
            }
        }
        _ => {
            let pod = if generator.chance(50) { generator.local_pod(world) } else { generator.remote_pod(world) };
            world.pods.extend(pod);
        }
    }
}
