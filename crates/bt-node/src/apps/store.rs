//! Where packages, installation records and secrets lie in the tree: files below `/.apps` of the zone at its top.
//!
//! | path | what |
//! |---|---|
//! | `/.apps/packages/ID` | a package, as its author signed it |
//! | `/.apps/NAME/RECORD` | an installation record, by its hash; the access log says which one counts |
//! | `/.apps/NAME/secrets/PERMISSION` | a secret, sealed to the node that may run the app |

use std::sync::Arc;

use bt_base::{PackageId, RecordHash};
use bt_tree::app::limits::{INSTALLATION_BYTES, PACKAGE_BYTES};
use bt_tree::app::{AppName, Installation, Package, PermissionName};
use bt_tree::schema::ROOT_INODE;
use bt_vfs::view::{DIRECTORY, REGULAR, TYPE_BITS};
use bt_vfs::{Refusal, RenameFlags};

use super::walk::APPS;
use crate::control::Failure;
use crate::engine::Engine;
use crate::error::{EngineError, Result};

/// Only the owner of the mount sees them.
const DIRECTORY_MODE: u32 = DIRECTORY | 0o700;
const FILE_MODE: u32 = REGULAR | 0o600;
/// What a file is called until it is whole.
const NEW: &[u8] = b".new";
/// The most bytes of a sealed secret.
pub(super) const SECRET_BYTES: usize = 64 << 10;

/// The files of apps in the zone at the top.
pub(crate) struct AppStore(Arc<Engine>);

impl AppStore {
    /// Those of the zone that `engine` serves.
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self(engine)
    }

    /// Reads and verifies a package.
    pub(crate) fn package(&self, id: &PackageId) -> std::result::Result<Package, Failure> {
        let bytes = self.read(&["packages", &id.to_string()], PACKAGE_BYTES)?;
        Package::open_as(id, bytes).map_err(|error| Failure::problem(error.to_string(), INSTALL_AGAIN))
    }

    /// Reads and verifies the installation record that the access log names.
    pub(crate) fn installation(
        &self,
        name: &AppName,
        record: &RecordHash,
    ) -> std::result::Result<Installation, Failure> {
        let bytes = self.read(&[name.as_str(), &record.to_string()], INSTALLATION_BYTES)?;
        let tree = self.0.identity.tree();
        Installation::decode(tree, name, record, &bytes)
            .map_err(|error| Failure::problem(error.to_string(), INSTALL_AGAIN))
    }

    /// Keeps a package; durable when this returns.
    pub(crate) fn put_package(&self, bytes: Vec<u8>) -> std::result::Result<PackageId, Failure> {
        let package = Package::open(bytes).map_err(|error| Failure::refused(error.to_string(), ""))?;
        self.write(&["packages", &package.id().to_string()], package.as_bytes())?;
        Ok(*package.id())
    }

    /// Keeps an installation record; durable when this returns. It counts once the access log names it.
    pub(crate) fn put_installation(&self, bytes: &[u8]) -> std::result::Result<RecordHash, Failure> {
        let installation = Installation::decode_unnamed(bytes)
            .map_err(|error| Failure::refused(error.to_string(), "use the bt that serves the tree"))?;
        let hash = Installation::hash_of(self.0.identity.tree(), bytes);
        self.write(&[installation.name.as_str(), &hash.to_string()], bytes)?;
        Ok(hash)
    }

    /// Reads a sealed secret; none where none was set.
    pub(super) fn secret(
        &self,
        name: &AppName,
        permission: &PermissionName,
    ) -> std::result::Result<Option<Vec<u8>>, Failure> {
        let path = [name.as_str(), "secrets", permission.as_str()];
        match self.find(&path).map_err(|error| failed(&path, error))? {
            None => Ok(None),
            Some(_) => self.read(&path, SECRET_BYTES).map(Some),
        }
    }

    /// Keeps a sealed secret; durable when this returns.
    pub(super) fn put_secret(
        &self,
        name: &AppName,
        permission: &PermissionName,
        sealed: &[u8],
    ) -> std::result::Result<(), Failure> {
        self.write(&[name.as_str(), "secrets", permission.as_str()], sealed)
    }

    fn read(&self, path: &[&str], limit: usize) -> std::result::Result<Vec<u8>, Failure> {
        let fail = |error| failed(path, error);
        let inode = self.find(path).map_err(fail)?.ok_or_else(|| {
            Failure::problem(format!("{} is not there: somebody removed it", shown(path)), INSTALL_AGAIN)
        })?;
        let size = self.0.inode(inode).map_err(fail)?.size;
        if size > limit as u64 + 2 {
            return Err(Failure::problem(
                format!("{} has {size} bytes, more than it can have", shown(path)),
                INSTALL_AGAIN,
            ));
        }
        let mut bytes = vec![0; size as usize];
        let read = self.0.read_file(inode, 0, &mut bytes).map_err(fail)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    fn find(&self, path: &[&str]) -> Result<Option<u64>> {
        let Some((mut inode, _)) = self.0.find(ROOT_INODE, APPS)? else { return Ok(None) };
        for name in path {
            match self.0.find(inode, name.as_bytes()) {
                Ok(Some((found, _))) => inode = found,
                Ok(None) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(inode))
    }

    /// Puts a file in its place whole; durable when this returns.
    fn write(&self, path: &[&str], bytes: &[u8]) -> std::result::Result<(), Failure> {
        self.try_write(path, bytes).map_err(|error| failed(path, error))
    }

    fn try_write(&self, path: &[&str], bytes: &[u8]) -> Result<()> {
        let (name, directories) = path.split_last().expect("a path has a name");
        let mut inode = self.directory(ROOT_INODE, APPS)?;
        for directory in directories {
            inode = self.directory(inode, directory.as_bytes())?;
        }
        match self.0.unlink(inode, NEW, false) {
            Ok(()) | Err(EngineError::Refused(Refusal::NotFound)) => {}
            Err(error) => return Err(error),
        }
        let (file, _) = self.0.make(inode, NEW, FILE_MODE, 0, b"", owner())?;
        let written = self
            .0
            .write_file(file, 0, bytes, false)
            .and_then(|()| self.0.rename((inode, NEW), (inode, name.as_bytes()), RenameFlags::Replace))
            .and_then(|()| self.0.sync_file(Some(file)));
        self.0.forget(file, 1);
        written
    }

    /// A directory, made where it is not.
    fn directory(&self, parent: u64, name: &[u8]) -> Result<u64> {
        if let Some((inode, record)) = self.0.find(parent, name)? {
            let is_directory = record.mode & TYPE_BITS == DIRECTORY && !record.is_entrance;
            return if is_directory { Ok(inode) } else { Err(Refusal::NotDirectory.into()) };
        }
        let (inode, _) = self.0.make(parent, name, DIRECTORY_MODE, 0, b"", owner())?;
        self.0.forget(inode, 1);
        Ok(inode)
    }
}

const INSTALL_AGAIN: &str = "install the app again";

/// User, group and umask of what this process makes.
fn owner() -> (u32, u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw(), 0)
}

fn shown(path: &[&str]) -> String {
    format!("/.apps/{}", path.join("/"))
}

fn failed(path: &[&str], error: EngineError) -> Failure {
    error.into_failure(&shown(path))
}

#[cfg(test)]
mod tests {
    use bt_crypto::{KeyStore, SoftwareKeyStore};

    use super::*;
    use crate::apps::testing::{manifest, package};
    use crate::engine::testing::TestZone;

    fn installation(package: &Package) -> Installation {
        let manifest = package.manifest();
        Installation {
            name: manifest.name.clone(),
            package: *package.id(),
            version: manifest.version,
            author: manifest.author.id(),
            grants: vec![],
            enabled: true,
            kept: vec![],
            generation: 1,
        }
    }

    #[test]
    fn packages_and_records_survive_a_crash_and_are_verified() {
        let zone = TestZone::new();
        let store = AppStore::new(zone.engine.clone());
        let author = SoftwareKeyStore::from_seed(&[9; 32]);
        let package = package(manifest("notes", &author), b"component", &author);
        let record = installation(&package).to_bytes().unwrap();
        assert_eq!(store.put_package(package.as_bytes().to_vec()).unwrap(), *package.id());
        let hash = store.put_installation(&record).unwrap();
        drop(store);
        let zone = zone.crash();
        let store = AppStore::new(zone.engine.clone());
        assert_eq!(store.package(package.id()).unwrap(), package);
        let name = "notes".parse().unwrap();
        assert_eq!(store.installation(&name, &hash).unwrap().author, author.credential().id());
        let apps = zone.engine.find(ROOT_INODE, APPS).unwrap().unwrap();
        assert_eq!(apps.1.mode & 0o7777, 0o700);
        zone.expect_clean();
    }

    #[test]
    fn what_somebody_changed_or_removed_is_refused() {
        let zone = TestZone::new();
        let store = AppStore::new(zone.engine.clone());
        let author = SoftwareKeyStore::from_seed(&[9; 32]);
        let package = package(manifest("notes", &author), b"component", &author);
        store.put_package(package.as_bytes().to_vec()).unwrap();
        let path = ["packages", &package.id().to_string()];
        let inode = store.find(&path).unwrap().unwrap();
        zone.engine.write_file(inode, package.as_bytes().len() as u64 - 1, b"X", false).unwrap();
        let refused = store.package(package.id()).unwrap_err();
        assert!(refused.what.contains("damaged or forged"), "{refused}");
        let name: AppName = "notes".parse().unwrap();
        let gone = store.installation(&name, &RecordHash([1; 32])).unwrap_err();
        assert!(gone.what.contains("is not there"), "{gone}");
        let other = store.put_package(b"BTPKG".to_vec()).unwrap_err();
        assert!(other.what.contains("no package"), "{other}");
    }
}
