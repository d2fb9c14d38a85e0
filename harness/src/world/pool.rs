//! Worlds that cases take turns in.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::{World, WorldError};
use crate::cluster::Cluster;
use crate::plan::Topology;

/// Keeps worlds for reuse, by topology; as many at a time as the run has lanes.
pub struct Pool {
    cluster: Cluster,
    lanes: u32,
    permits: Semaphore,
    booted: AtomicU32,
    idle: Mutex<BTreeMap<String, Vec<World>>>,
}

impl Pool {
    /// A pool without worlds: they are booted when a case needs one.
    pub fn new(cluster: Cluster, lanes: u32) -> Self {
        let permits = Semaphore::new(lanes as usize);
        Pool { cluster, lanes, permits, booted: AtomicU32::new(0), idle: Mutex::default() }
    }

    /// A world for one case; it goes back when the lease is dropped. An exclusive case takes every lane.
    ///
    /// # Errors
    /// [`WorldError`] when none is idle and none can be booted.
    pub async fn lease(&self, topology: &Topology, exclusive: bool) -> Result<Lease<'_>, WorldError> {
        let lanes = if exclusive { self.lanes } else { 1 };
        let permit = self.permits.acquire_many(lanes).await.ok();
        let idle = self.idle().get_mut(&topology.name).and_then(Vec::pop);
        let world = match idle {
            Some(world) => world,
            None => World::boot(&self.cluster, self.booted.fetch_add(1, Ordering::Relaxed) + 1, topology).await?,
        };
        Ok(Lease { pool: self, world: Some(world), _permit: permit })
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<World>>> {
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A world in use.
pub struct Lease<'a> {
    pool: &'a Pool,
    world: Option<World>,
    _permit: Option<SemaphorePermit<'a>>,
}

impl Deref for Lease<'_> {
    type Target = World;

    fn deref(&self) -> &World {
        self.world.as_ref().expect("a lease holds its world until it is dropped")
    }
}

impl DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut World {
        self.world.as_mut().expect("a lease holds its world until it is dropped")
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let Some(world) = self.world.take() else { return };
        if world.altered {
            // Its pods are in the way of nobody; the run's end removes what is still there.
            tokio::spawn(async move {
                if let Err(error) = world.remove().await {
                    tracing::debug!(%error, "removing an altered world");
                }
            });
        } else {
            self.pool.idle().entry(world.topology.name.clone()).or_default().push(world);
        }
    }
}
