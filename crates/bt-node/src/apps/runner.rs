//! Running apps: a process for each installed one, and the calls of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bt_app::protocol::{Caller, FileError, FileReply, FileRequest, HttpRequest, Root, Start, What};
use bt_app::{
    AppError, AppProcess, CodeCache, Entry, Limits, OutgoingRule, OutputStream, ProcessOptions, Program, RequestBody,
    Response, Services,
};
use bt_base::{PackageId, PrincipalId, RecordHash};
use bt_tree::app::{AppName, Grant, GrantTo, Package};
use tokio::sync::Mutex as AsyncMutex;
use zeroize::Zeroizing;

use super::authority::Authority;
use super::files::{CallFiles, GrantedRoot};
use super::limits::PATIENCE;
use super::log::LineMaker;
use super::registry::{Apps, LoadedApp};
use super::secrets::Purpose;
use crate::control::Failure;
use crate::system::SystemEntropy;

/// Why an app could not be called.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The app, or a call of it, failed.
    #[error(transparent)]
    App(#[from] AppError),
    /// The node could not do its part.
    #[error("{0}")]
    Node(Failure),
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        Self::Node(failure)
    }
}

/// What runs for one package of an installation.
struct Running {
    record: RecordHash,
    process: Arc<AppProcess>,
}

type Key = (AppName, PackageId);

/// Runs the apps of a node.
pub(crate) struct Runner {
    pub(crate) apps: Arc<Apps>,
    program: Program,
    cache: CodeCache,
    /// The processes; one is made at a time, calls of others do not wait for it.
    running: Mutex<HashMap<Key, Arc<AsyncMutex<Option<Running>>>>>,
}

impl Runner {
    /// Runs apps with processes of `program`; compiled code is kept in the node's directory.
    pub(crate) fn new(apps: Arc<Apps>, dir: &std::path::Path, program: Program) -> Result<Self, CallError> {
        let mut key = Zeroizing::new([0; 32]);
        // A key of this process: what an earlier one compiled is compiled again.
        bt_base::Entropy::fill(&mut SystemEntropy, &mut *key);
        let cache = CodeCache::open(&dir.join(crate::layout::CODE), key, program.clone())?;
        Ok(Self { apps, program, cache, running: Mutex::default() })
    }

    /// Calls an app over HTTP.
    pub(crate) async fn call(
        self: &Arc<Self>,
        app: &Arc<LoadedApp>,
        package: PackageId,
        request: HttpRequest,
        body: RequestBody,
        caller: Option<PrincipalId>,
    ) -> Result<Response, CallError> {
        let (apps, own) = (self.apps.clone(), app.clone());
        // Both may wait for a disk.
        let prepared = tokio::task::spawn_blocking(move || prepare(&apps, &own, caller)).await;
        let (roots, granted, environment) = prepared.expect("preparing a call does not panic")?;
        let process = self.process(app, package).await?;
        let caller = match caller {
            None => Caller::Anonymous,
            Some(id) => Caller::Principal { id: id.to_string(), name: id.short() },
        };
        let start = Start { what: What::Http(request), roots, caller, environment };
        let services = Arc::new(Call {
            files: CallFiles::new(self.apps.zones.clone(), granted),
            lines: Mutex::default(),
            app: app.clone(),
            seen: Mutex::new(self.apps.newest()),
            apps: self.apps.clone(),
        });
        Ok(process.call(start, body, services).await?)
    }

    /// The process that runs a package of an installation: started anew when what is installed changed.
    async fn process(&self, app: &LoadedApp, package: PackageId) -> Result<Arc<AppProcess>, CallError> {
        let key = (app.installation.name.clone(), package);
        let place = self.running.lock().expect("no panic under this lock").entry(key).or_default().clone();
        let mut place = place.lock().await;
        match &*place {
            Some(running) if running.record == app.record => return Ok(running.process.clone()),
            _ => {}
        }
        let package = self.package(app, package).await?;
        let limits = limits_of(&package);
        let outgoing = outgoing_of(app);
        let code = self.cache.compiled(package.component(), limits.fuel.is_some()).await?;
        let options = ProcessOptions { program: self.program.clone(), code, entry: Entry::Http, limits, outgoing };
        let process = Arc::new(AppProcess::new(options));
        *place = Some(Running { record: app.record, process: process.clone() });
        Ok(process)
    }

    /// Ends the processes of what is not installed any more, or is stopped.
    pub(crate) fn sweep(&self) {
        let mut running = self.running.lock().expect("no panic under this lock");
        running.retain(|(name, id), _| self.is_installed(name, id));
    }

    fn is_installed(&self, name: &AppName, id: &PackageId) -> bool {
        let app = self.apps.find(name).and_then(|app| app.loaded.ok());
        app.is_some_and(|app| app.installation.answers(id))
    }

    /// The package of an installation, or an earlier one that it keeps.
    pub(crate) async fn package(&self, app: &LoadedApp, id: PackageId) -> Result<Arc<Package>, CallError> {
        if id == app.installation.package {
            return Ok(app.package.clone());
        }
        let apps = self.apps.clone();
        let read = tokio::task::spawn_blocking(move || apps.store.package(&id)).await;
        Ok(Arc::new(read.expect("reading a package does not panic")?))
    }
}

/// What its package asks for; the format caps each.
fn limits_of(package: &Package) -> Limits {
    let asked = &package.manifest().limits;
    Limits {
        memory: asked.memory_bytes,
        table_elements: asked.table_elements,
        instances: asked.instances,
        time: Duration::from_millis(asked.call_ms),
        patience: PATIENCE,
        calls: asked.concurrent_calls,
        response: asked.output_bytes,
        output: asked.log_bytes,
        fuel: asked.fuel,
    }
}

/// The hosts that an app may reach.
fn outgoing_of(app: &LoadedApp) -> Vec<OutgoingRule> {
    let granted = app.installation.grants.iter();
    let rules = granted.filter_map(|grant| match &grant.to {
        GrantTo::Http { host, port } => Some(OutgoingRule { host: host.to_string(), port: *port }),
        _ => None,
    });
    rules.collect()
}

type Prepared = (Vec<Root>, Vec<GrantedRoot>, Vec<(String, String)>);

/// What a call by `caller` may use.
fn prepare(apps: &Apps, app: &LoadedApp, caller: Option<PrincipalId>) -> Result<Prepared, Failure> {
    let (mut roots, mut granted, mut environment) = (Vec::new(), Vec::new(), Vec::new());
    for grant in &app.installation.grants {
        match &grant.to {
            GrantTo::Files { path, write } => {
                let authority = Authority { owner: app.owner, caller, as_app: grant.as_app, write: *write };
                match GrantedRoot::find(&apps.zones, path, authority)? {
                    Some(root) => {
                        roots.push(Root { name: format!("/{}", grant.permission), write: *write });
                        granted.push(root);
                    }
                    None => {
                        app.log.add(true, format!("{path} was granted as {}, and is no directory", grant.permission))
                    }
                }
            }
            GrantTo::Environment { value } => environment.push((grant.permission.variable(), value.clone())),
            GrantTo::Secret => environment.extend(secret(apps, app, grant)?),
            // Hosts are the process's own; messages are not offered to guests.
            GrantTo::Http { .. } | GrantTo::Messages => {}
        }
    }
    Ok((roots, granted, environment))
}

fn secret(apps: &Apps, app: &LoadedApp, grant: &Grant) -> Result<Option<(String, String)>, Failure> {
    let (name, permission) = (&app.installation.name, &grant.permission);
    let Some(sealed) = apps.store.secret(name, permission)? else {
        app.log.add(true, format!("the secret {permission} is not set: `bt app secret set`"));
        return Ok(None);
    };
    let node = apps.zones.node();
    let secret = Purpose { tree: node.tree(), app: name, permission }.open(&*node.key.store(), &sealed)?;
    Ok(Some((permission.variable(), secret.to_string())))
}

/// What the node does for one call.
struct Call {
    files: CallFiles,
    lines: Mutex<LineMaker>,
    app: Arc<LoadedApp>,
    apps: Arc<Apps>,
    /// The newest access record under which the call was found to be allowed.
    seen: Mutex<RecordHash>,
}

impl Call {
    /// Whether what the call was begun with still counts: what is taken from an app is taken from calls that run, too.
    fn is_allowed(&self) -> bool {
        let newest = self.apps.newest();
        let mut seen = self.seen.lock().expect("no panic under this lock");
        if *seen == newest {
            return true;
        }
        let (begun, now) = (&self.app, self.apps.find(&self.app.installation.name));
        let is_same = now.and_then(|now| now.loaded.ok()).is_some_and(|now| {
            let (before, after) = (&begun.installation, &now.installation);
            after.enabled && (&before.grants, begun.owner) == (&after.grants, now.owner)
        });
        if is_same {
            *seen = newest;
        }
        is_same
    }
}

impl Services for Call {
    fn files(&self, request: FileRequest) -> FileReply {
        match self.is_allowed() {
            true => self.files.answer(request),
            false => FileReply::Failed(FileError::Access),
        }
    }

    fn output(&self, stream: OutputStream, bytes: &[u8]) {
        self.lines.lock().expect("no panic under this lock").push(stream, bytes, &self.app.log);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.lines.get_mut().expect("no panic under this lock").finish(&self.app.log);
    }
}
