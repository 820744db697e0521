//! The apps that the access log says are installed, read and verified.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bt_base::{PackageId, PrincipalId, RecordHash, Timestamp};
use bt_tree::app::{AppName, Installation, Package};

use super::log::AppLog;
use super::store::AppStore;
use super::tokens::Tokens;
use crate::control::Failure;
use crate::zones::Zones;

/// An installation whose record and package are as they should be.
pub(crate) struct LoadedApp {
    pub(crate) installation: Installation,
    /// The package that answers under the app's name.
    pub(crate) package: Arc<Package>,
    /// The record.
    pub(crate) record: RecordHash,
    /// Who signed that it counts.
    pub(crate) owner: PrincipalId,
    pub(crate) log: Arc<AppLog>,
}

/// An app that the access log names.
#[derive(Clone)]
pub(crate) struct RegisteredApp {
    pub(crate) record: RecordHash,
    pub(crate) by: PrincipalId,
    pub(crate) since: Timestamp,
    /// What is installed, or why it cannot be run.
    pub(crate) loaded: Result<Arc<LoadedApp>, Failure>,
}

#[derive(Default)]
struct Registry {
    /// The newest access record when this was read.
    seen: Option<RecordHash>,
    apps: BTreeMap<AppName, RegisteredApp>,
    logs: BTreeMap<AppName, Arc<AppLog>>,
}

/// The apps of an open node.
pub(crate) struct Apps {
    pub(crate) zones: Arc<Zones>,
    pub(crate) store: AppStore,
    pub(crate) tokens: Tokens,
    registry: Mutex<Registry>,
}

impl Apps {
    /// Those of the node whose zones these are.
    pub(crate) fn new(zones: Arc<Zones>) -> Result<Self, Failure> {
        let tokens = Tokens::load(zones.storage(), *zones.node().tree())?;
        let store = AppStore::new(zones.top().clone());
        Ok(Self { zones, store, tokens, registry: Mutex::default() })
    }

    /// The newest record of the access log that says what is installed.
    pub(crate) fn newest(&self) -> RecordHash {
        self.zones.top().identity.rights.now().access.newest()
    }

    /// Every app that the access log names now, by name.
    pub(crate) fn all(&self) -> BTreeMap<AppName, RegisteredApp> {
        self.with_registry(|registry| registry.apps.clone())
    }

    /// The app of a name.
    pub(crate) fn find(&self, name: &AppName) -> Option<RegisteredApp> {
        self.with_registry(|registry| registry.apps.get(name).cloned())
    }

    /// The app that answers requests for a package by its id.
    pub(crate) fn find_answering(&self, id: &PackageId) -> Option<Arc<LoadedApp>> {
        self.with_registry(|registry| {
            let loaded = registry.apps.values().filter_map(|app| app.loaded.as_ref().ok());
            loaded.into_iter().find(|app| app.installation.answers(id)).cloned()
        })
    }

    fn with_registry<T>(&self, look: impl FnOnce(&Registry) -> T) -> T {
        let mut registry = self.registry.lock().expect("no panic under this lock");
        let rights = self.zones.top().identity.rights.now();
        let newest = rights.access.newest();
        if registry.seen != Some(newest) {
            let before = std::mem::take(&mut registry.apps);
            for (name, app) in rights.access.apps() {
                let known = before.get(name).filter(|known| known.record == app.record && known.loaded.is_ok());
                let log = registry.logs.entry(name.clone()).or_default().clone();
                let loaded = match known {
                    Some(known) => known.loaded.clone(),
                    None => self.load(name, app.record, app.by, log),
                };
                let app = RegisteredApp { record: app.record, by: app.by, since: app.time, loaded };
                registry.apps.insert(name.clone(), app);
            }
            let Registry { apps, logs, .. } = &mut *registry;
            logs.retain(|name, _| apps.contains_key(name));
            // One that could not be read is tried again.
            let is_whole = apps.values().all(|app| app.loaded.is_ok());
            registry.seen = is_whole.then_some(newest);
        }
        look(&registry)
    }

    fn load(
        &self,
        name: &AppName,
        record: RecordHash,
        owner: PrincipalId,
        log: Arc<AppLog>,
    ) -> Result<Arc<LoadedApp>, Failure> {
        let installation = self.store.installation(name, &record)?;
        let package = Arc::new(self.store.package(&installation.package)?);
        Ok(Arc::new(LoadedApp { installation, package, record, owner, log }))
    }
}
