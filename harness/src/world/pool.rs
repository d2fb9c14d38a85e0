//! Worlds that cases take turns in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::pods::until_node_ports_are_free;
use super::{Canary, World, WorldError, boot};
use crate::cluster::Cluster;
use crate::plan::Topology;
use crate::topology::uses_node_network;

/// Keeps worlds for reuse, by topology, and canaries, by their nodes.
pub struct Pool {
    cluster: Cluster,
    booted: AtomicU32,
    idle: Mutex<BTreeMap<String, Vec<World>>>,
    /// As many as there are lanes, for each set of nodes.
    canaries: Mutex<Vec<Canary>>,
    /// Pods in the network of their node listen on its ports: one world with such pods stands at a time.
    node_network: Semaphore,
}

impl Pool {
    /// A pool without worlds: they are booted when a case needs one.
    pub fn new(cluster: Cluster) -> Self {
        Pool {
            cluster,
            booted: AtomicU32::new(0),
            idle: Mutex::default(),
            canaries: Mutex::default(),
            node_network: Semaphore::new(1),
        }
    }

    /// A world for one case; it goes back when the lease is dropped.
    ///
    /// # Errors
    /// [`WorldError`] when none is idle and none can be booted.
    pub async fn lease(&self, topology: &Topology) -> Result<Lease<'_>, WorldError> {
        let node_network = match uses_node_network(topology) {
            true => self.node_network.acquire().await.ok(),
            false => None,
        };
        let idle = self.idle().get_mut(&topology.name).and_then(Vec::pop);
        if idle.is_none() && node_network.is_some() {
            self.clear_node_ports().await?;
        }
        let world = async {
            match idle {
                Some(world) => Ok(world),
                None => World::boot(&self.cluster, self.number(), topology).await,
            }
        };
        match futures::join!(world, self.canary(topology)) {
            (Ok(world), Ok(canary)) => {
                Ok(Lease { pool: self, held: Some((world, canary)), _node_network: node_network })
            }
            // What is there serves other cases.
            (Err(error), canary) => {
                lock(&self.canaries).extend(canary.ok());
                Err(error)
            }
            (Ok(world), Err(error)) => {
                self.keep(world);
                Err(error)
            }
        }
    }

    /// Takes a world back for the next case.
    fn keep(&self, world: World) {
        self.idle().entry(world.topology.name.clone()).or_default().push(world);
    }

    /// Canaries on the nodes of a topology.
    async fn canary(&self, topology: &Topology) -> Result<Canary, WorldError> {
        let nodes = boot::nodes(topology, &self.cluster)?;
        let idle = {
            let mut canaries = lock(&self.canaries);
            let fitting = canaries.iter().position(|canary| canary.nodes().eq(&nodes));
            fitting.map(|index| canaries.swap_remove(index))
        };
        match idle {
            Some(canary) => Ok(canary),
            None => Canary::boot(&self.cluster, self.number(), &nodes).await,
        }
    }

    /// A number that no other world, and no other canary, of the run has.
    fn number(&self) -> u32 {
        self.booted.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Removes idle worlds whose pods listen on ports of nodes, and waits until those pods are gone.
    async fn clear_node_ports(&self) -> Result<(), WorldError> {
        let mut in_the_way = Vec::new();
        for worlds in self.idle().values_mut() {
            in_the_way.extend(worlds.extract_if(.., |world| uses_node_network(&world.topology)));
        }
        for world in in_the_way {
            world.remove().await?;
        }
        until_node_ports_are_free(&self.cluster).await
    }

    fn idle(&self) -> MutexGuard<'_, BTreeMap<String, Vec<World>>> {
        lock(&self.idle)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A world in use, and canaries on its nodes.
pub struct Lease<'a> {
    pool: &'a Pool,
    held: Option<(World, Canary)>,
    _node_network: Option<SemaphorePermit<'a>>,
}

impl Lease<'_> {
    /// What it is a lease of.
    pub fn parts(&mut self) -> (&mut World, &Canary) {
        let (world, canary) = self.held.as_mut().expect("a lease holds its world until it is dropped");
        (world, canary)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let Some((world, canary)) = self.held.take() else { return };
        lock(&self.pool.canaries).push(canary);
        if world.altered {
            // Its pods are in the way of nobody; the run's end removes what is still there.
            tokio::spawn(async move {
                if let Err(error) = world.remove().await {
                    tracing::debug!(%error, "removing an altered world");
                }
            });
        } else {
            self.pool.keep(world);
        }
    }
}
