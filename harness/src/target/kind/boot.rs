//! Booting: carries out the steps, and remembers what must be undone.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Instant;

use kube::Client;
use serde_json::Value;

use super::archive;
use super::cni_entry::{Entry, embedded_manifest};
use super::config::{Cgroup, kind_config};
use super::download;
use super::engine::{Provider, find_kind, find_provider, kind_command};
use super::failure::BootError;
use super::manifest;
use super::place::{Place, cache_root};
use super::ready;
use super::shape::{self, Shape};
use super::steps::{CREATE, PREPARE, REUSE, Step, applies};
use super::tool::{CommandFailed, Tools};
use super::{KindArgs, Order};
use crate::cluster::connect;
use crate::waits;

/// A cluster on its way, and later standing.
pub(super) struct Boot<'a> {
    /// What was asked for.
    pub(super) order: &'a Order,
    /// The CNI.
    pub(super) entry: &'a Entry,
    /// Runs kind.
    pub(super) tools: &'a Tools,
    /// The cluster's files.
    pub(super) place: &'a Place,
    /// The cluster's name.
    pub(super) name: String,
    /// Under kind, once found.
    pub(super) provider: Provider,
    /// What the nodes get.
    pub(super) cgroup: Cgroup,
    /// The image of the agent's pods, once known.
    pub(super) image: String,
    /// Whether there may be nodes of ours: they must be deleted.
    pub(super) begun: bool,
    /// Whether a cluster was there that stays.
    pub(super) reused: bool,
    /// The API, once it is there.
    pub(super) client: Option<Client>,
    /// Whether kind made its network for this cluster.
    network_made: bool,
    manifest: Vec<Value>,
    archives: Vec<PathBuf>,
    /// Of our image, where the CNI's pods run it.
    image_bytes: Vec<u8>,
}

impl<'a> Boot<'a> {
    /// Nothing is done yet.
    pub(super) fn new(order: &'a Order, entry: &'a Entry, tools: &'a Tools, place: &'a Place, name: String) -> Self {
        let image = order.image.clone().unwrap_or_else(|| archive::IMAGE.to_owned());
        let archives = order.kind.load.clone();
        Boot {
            order,
            entry,
            tools,
            place,
            name,
            provider: Provider::Docker,
            cgroup: Cgroup::V2,
            image,
            begun: false,
            reused: false,
            client: None,
            network_made: false,
            manifest: Vec::new(),
            archives,
            image_bytes: Vec::new(),
        }
    }

    /// Carries out every step; the one that failed, with the reason.
    ///
    /// # Errors
    /// [`BootError`]
    pub(super) async fn run(&mut self) -> Result<(), (Step, BootError)> {
        self.carry_out(&PREPARE).await?;
        if self.reused { self.carry_out(&REUSE).await } else { self.carry_out(&CREATE).await }
    }

    async fn carry_out(&mut self, steps: &[Step]) -> Result<(), (Step, BootError)> {
        for step in steps {
            if !applies(*step, &self.entry.cni, !self.archives.is_empty()) {
                continue;
            }
            eprintln!("{}: {step}", self.name);
            let start = Instant::now();
            self.carry_out_one(*step).await.map_err(|error| (*step, error))?;
            let took = start.elapsed();
            if took.as_secs() >= 1 {
                eprintln!("{}:   {:.1} s", self.name, took.as_secs_f32());
            }
        }
        Ok(())
    }

    async fn carry_out_one(&mut self, step: Step) -> Result<(), BootError> {
        match step {
            Step::FindKind => _ = find_kind(self.tools).await?,
            Step::FindEngine => (self.provider, self.cgroup) = find_provider(self.tools).await?,
            Step::ReadManifest => self.read_manifest().await?,
            Step::PrepareImage => self.prepare_image().await?,
            Step::LookForCluster => self.look_for_cluster().await?,
            Step::CreateCluster => self.create_cluster().await?,
            Step::ExportKubeconfig => _ = self.connect_to_existing().await?,
            Step::LoadImages => self.load_images().await?,
            Step::InstallCni => self.install_cni().await?,
            Step::AwaitCni => self.await_cni().await?,
            Step::AwaitNodes => self.await_nodes().await?,
            Step::RecordShape => {
                let shape = self.shape()?;
                shape::record(&self.client().await?, &shape).await?;
            }
        }
        Ok(())
    }

    fn nodes(&self) -> usize {
        usize::from(self.order.kind.workers) + 1
    }

    /// The engine's `network VERB` on kind's network.
    async fn network(&self, verb: &str) -> Result<String, CommandFailed> {
        let network = self.provider.network();
        self.tools.run(self.provider.program().as_ref(), &["network", verb, &network]).await
    }

    async fn kind<const N: usize>(&self, arguments: [OsString; N]) -> Result<String, CommandFailed> {
        let (program, arguments) = kind_command(self.provider, arguments.into());
        self.tools.run(&program, &arguments).await
    }

    async fn client(&mut self) -> Result<Client, BootError> {
        let client = match &self.client {
            Some(client) => client.clone(),
            None => connect(&self.place.kubeconfig(), None).await?,
        };
        Ok(self.client.insert(client).clone())
    }

    async fn read_manifest(&mut self) -> Result<(), BootError> {
        let KindArgs { cni_manifest, mirror, .. } = &self.order.kind;
        let read = |path: PathBuf| std::fs::read_to_string(&path).map_err(|cause| BootError::File { path, cause });
        let install = &self.entry.cni.install;
        let text = if let Some(file) = cni_manifest {
            read(file.clone())?
        } else if let Some(file) = &install.file {
            read(self.entry.folder.clone().unwrap_or_default().join(file))?
        } else if let Some(download) = &install.download {
            self.tools.show(format!("curl -fL {}", download::address(&download.url, mirror.as_deref())));
            download::fetch(download, mirror.as_deref(), &cache_root()).await?
        } else {
            install.embedded.iter().filter_map(|path| embedded_manifest(path)).collect::<Vec<_>>().join("\n---\n")
        };
        self.manifest = manifest::objects(&text)?;
        manifest::patch(&mut self.manifest, &self.entry.cni, self.order.kind.family())?;
        Ok(())
    }

    /// `--image` alone names one that nodes can pull or have; otherwise there is an archive, given or built.
    async fn prepare_image(&mut self) -> Result<(), BootError> {
        let own = match (&self.order.kind.image_archive, &self.order.image) {
            (Some(archive), named) => {
                let name = archive::image_name(archive)?;
                if named.is_none() {
                    self.image = name;
                }
                Some(archive.clone())
            }
            (None, Some(_)) => None,
            (None, None) => {
                let output = self.place.file("netpol-image.tar");
                archive::build(self.tools, &self.image, &output).await?;
                Some(output)
            }
        };
        if let Some(own) = &own {
            let read = std::fs::read(own).map_err(|cause| BootError::File { path: own.clone(), cause })?;
            self.image_bytes = if self.entry.cni.runs_our_image() { read } else { Vec::new() };
        }
        self.archives.splice(0..0, own);
        manifest::set_image(&mut self.manifest, &self.image);
        Ok(())
    }

    fn config(&self) -> Result<String, BootError> {
        Ok(kind_config(&self.entry.cni, &self.order.kind, self.cgroup)?)
    }

    fn shape(&self) -> Result<Shape, BootError> {
        let (config, manifest) = (self.config()?, manifest::text(&self.manifest)?);
        let parts = [config.as_bytes(), self.entry.text.as_bytes(), manifest.as_bytes(), &self.image_bytes];
        Ok(Shape::of(&self.entry.cni.metadata.name, &parts, self.order.keep || self.reused))
    }

    /// Decides what becomes of a cluster that has the name already.
    async fn look_for_cluster(&mut self) -> Result<(), BootError> {
        let clusters = self.kind(["get".into(), "clusters".into()]).await?;
        if !clusters.lines().any(|cluster| cluster.trim() == self.name) {
            return Ok(());
        }
        let recorded = self.connect_to_existing().await.ok().flatten();
        let wanted = self.shape()?;
        match recorded {
            Some(shape) if shape.kept && shape.is_as(&wanted) => {
                eprintln!("{}: it is there, with this shape, and is used again", self.name);
                self.reused = true;
            }
            Some(Shape { kept: true, .. }) => {
                let why = "it was kept, and has another shape than the one asked for";
                return Err(BootError::NameTaken { name: self.name.clone(), why });
            }
            recorded if recorded.is_some() || self.place.is_marked() => {
                eprintln!("{}: it was left by a netpol that was killed, and is replaced", self.name);
                self.begun = true;
                self.delete().await?;
            }
            _ => {
                let why = "netpol did not make it";
                return Err(BootError::NameTaken { name: self.name.clone(), why });
            }
        }
        Ok(())
    }

    async fn connect_to_existing(&mut self) -> Result<Option<Shape>, BootError> {
        let kubeconfig = self.place.kubeconfig();
        self.kind([
            "export".into(),
            "kubeconfig".into(),
            "--name".into(),
            (&self.name).into(),
            "--kubeconfig".into(),
            kubeconfig.into(),
        ])
        .await?;
        self.client = None;
        Ok(shape::read(&self.client().await?).await?)
    }

    async fn create_cluster(&mut self) -> Result<(), BootError> {
        let config = self.place.write("kind-config.yaml", &self.config()?)?;
        self.network_made = self.network("inspect").await.is_err();
        self.place.mark()?;
        self.begun = true;
        let created = self.kind([
            "create".into(),
            "cluster".into(),
            "--name".into(),
            (&self.name).into(),
            "--config".into(),
            config.into(),
            "--kubeconfig".into(),
            self.place.kubeconfig().into(),
            // Evidence first: a failed cluster is deleted by us.
            "--retain".into(),
        ]);
        let failed = match created.await {
            Ok(_) => return Ok(()),
            Err(failed) => failed,
        };
        // Somebody was faster: what has the name now is theirs.
        if failed.said.contains("already exist for a cluster with the name") {
            self.begun = false;
            self.place.unmark();
        }
        Err(failed.into())
    }

    async fn load_images(&mut self) -> Result<(), BootError> {
        for archive in &self.archives {
            self.kind(["load".into(), "image-archive".into(), archive.into(), "--name".into(), (&self.name).into()])
                .await?;
        }
        Ok(())
    }

    async fn install_cni(&mut self) -> Result<(), BootError> {
        let file = self.place.write("cni.yaml", &manifest::text(&self.manifest)?)?;
        let kubeconfig = self.place.kubeconfig();
        self.tools.show(format!(
            "kubectl --kubeconfig {} apply --server-side -f {}",
            kubeconfig.display(),
            file.display()
        ));
        let objects = std::mem::take(&mut self.manifest);
        let applied = manifest::apply(&self.client().await?, &objects).await;
        self.manifest = objects;
        Ok(applied?)
    }

    async fn await_cni(&mut self) -> Result<(), BootError> {
        let (kubeconfig, selected) = (self.place.kubeconfig(), &self.entry.cni.ready);
        for of in selected {
            self.tools.show(format!(
                "kubectl --kubeconfig {} -n {} wait --for=condition=Ready pod -l {} --timeout={}s",
                kubeconfig.display(),
                of.namespace,
                of.selector,
                waits::CNI_READY.limit.as_secs()
            ));
        }
        Ok(ready::pods(&self.client().await?, selected, self.nodes()).await?)
    }

    async fn await_nodes(&mut self) -> Result<(), BootError> {
        self.tools.show(format!(
            "kubectl --kubeconfig {} wait --for=condition=Ready node --all --timeout={}s",
            self.place.kubeconfig().display(),
            waits::NODES_READY.limit.as_secs()
        ));
        Ok(ready::nodes(&self.client().await?, self.nodes()).await?)
    }

    /// Deletes the cluster, and its files.
    ///
    /// # Errors
    /// What kind said.
    pub(super) async fn delete(&mut self) -> Result<(), CommandFailed> {
        let kubeconfig = self.place.kubeconfig();
        self.kind([
            "delete".into(),
            "cluster".into(),
            "--name".into(),
            (&self.name).into(),
            "--kubeconfig".into(),
            kubeconfig.into(),
        ])
        .await?;
        if std::mem::take(&mut self.network_made) {
            // kind leaves it. Refused where somebody else's cluster has come into it meanwhile.
            self.network("rm").await.ok();
        }
        self.client = None;
        self.begun = false;
        Ok(())
    }
}
