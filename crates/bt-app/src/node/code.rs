//! Compiled code: made by a process of its own, kept in a cache, believed only under this node's key.
//!
//! | bytes of a file of the cache | what |
//! |---|---|
//! | 8 | `BTCODE01` |
//! | 32 | keyed hash of the file's name and the code |
//! | to the end | the code as wasmtime serialised it |
//!
//! Its name is the hash of the component, wasmtime's version and how it is configured. Running bytes that wasmtime did not
//! make would be running anything at all, so: only what the compile process wrote for that component gets under the hash,
//! and nothing without it is ever handed to a process.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use zeroize::Zeroizing;

use super::child::{Child, Spawn, how};
use crate::error::AppError;
use crate::internal::engine;
use crate::limits::{CACHE_SIZE, CODE_SIZE, COMPILE_TIME, COMPONENT_SIZE, LAST_WORDS, WORDS};
use crate::options::Program;

const MAGIC: &[u8; 8] = b"BTCODE01";
const HEADER: usize = MAGIC.len() + 32;

/// Compiled code that this node trusts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Code {
    /// In memory, and sealed against change.
    file: Arc<OwnedFd>,
}

impl AsFd for Code {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Code {
    fn new(bytes: &[u8]) -> io::Result<Self> {
        Ok(Self { file: Arc::new(sealed(bytes)?) })
    }
}

/// The cache of compiled code of a node.
#[derive(Debug)]
pub struct CodeCache {
    directory: PathBuf,
    key: Zeroizing<[u8; 32]>,
    program: Program,
    /// One compilation at a time: it takes all cores.
    compiling: tokio::sync::Mutex<()>,
}

impl CodeCache {
    /// Opens the cache in `directory`, which is made if there is none. `key` is known to this node only; a cache under
    /// another key counts as empty.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(directory: &Path, key: Zeroizing<[u8; 32]>, program: Program) -> Result<Self, AppError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(AppError::Cache)?;
        Ok(Self { directory: directory.to_owned(), key, program, compiling: tokio::sync::Mutex::new(()) })
    }

    /// The code of a component. It is compiled if the cache has not got it, or has something else in its place.
    ///
    /// # Errors
    /// [`AppError::Compile`] when the component is at fault, else what failed.
    pub async fn compiled(&self, component: &[u8], fuel: bool) -> Result<Code, AppError> {
        if component.len() > COMPONENT_SIZE {
            return Err(AppError::Compile(format!("it is larger than {COMPONENT_SIZE} bytes")));
        }
        let name = name_of(component, fuel);
        if let Some(code) = self.load(&name).map_err(AppError::Cache)? {
            return Ok(code);
        }
        let _alone = self.compiling.lock().await;
        if let Some(code) = self.load(&name).map_err(AppError::Cache)? {
            return Ok(code);
        }
        let code = self.compile(component, fuel).await?;
        self.store(&name, &code).map_err(AppError::Cache)?;
        Code::new(&code).map_err(AppError::Cache)
    }

    fn load(&self, name: &str) -> io::Result<Option<Code>> {
        let path = self.directory.join(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some((header, code)) = bytes.split_at_checked(HEADER) else { return Ok(None) };
        // Compared in constant time.
        if &header[..MAGIC.len()] != MAGIC
            || self.seal(name, code) != <[u8; 32]>::try_from(&header[MAGIC.len()..]).expect("32 bytes")
        {
            tracing::warn!(file = %path.display(), "not what this node compiled; it is compiled again");
            return Ok(None);
        }
        // What was used lately is removed last. Without the time it is removed earlier, no more.
        let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        Code::new(code).map(Some)
    }

    fn store(&self, name: &str, code: &[u8]) -> io::Result<()> {
        self.make_room(code.len() as u64)?;
        let unfinished = self.directory.join(format!("{name}.new"));
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(MAGIC)?;
        file.write_all(self.seal(name, code).as_bytes())?;
        file.write_all(code)?;
        fs::rename(&unfinished, self.directory.join(name))
    }

    /// Removes what was not used for longest until `size` more bytes fit.
    fn make_room(&self, size: u64) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            files.push((metadata.modified()?, metadata.len(), entry.path()));
        }
        files.sort();
        let mut total: u64 = files.iter().map(|file| file.1).sum();
        for (_, length, path) in files {
            if total + size <= CACHE_SIZE {
                break;
            }
            fs::remove_file(path)?;
            total -= length;
        }
        Ok(())
    }

    fn seal(&self, name: &str, code: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(name.as_bytes());
        hasher.update(code);
        hasher.finalize()
    }

    /// Has a process compile: it gets the component and a file to write to, and the right to nothing else.
    async fn compile(&self, component: &[u8], fuel: bool) -> Result<Vec<u8>, AppError> {
        let input = sealed(component).map_err(AppError::Process)?;
        let mut output =
            File::from(memfd_create("code", MemfdFlags::CLOEXEC).map_err(|e| AppError::Process(e.into()))?);
        let mut errors = for_last_words().map_err(AppError::Process)?;
        let mut child = Child::spawn(Spawn {
            program: &self.program,
            role: if fuel { "compile-fuel" } else { "compile" },
            input: input.into(),
            output: shared(&output)?,
            errors: shared(&errors)?,
        })
        .await
        .map_err(AppError::Process)?;
        let status = match tokio::time::timeout(COMPILE_TIME, child.ended()).await {
            Ok(status) => status.map_err(AppError::Process)?,
            Err(_) => return Err(AppError::Compile(format!("it takes longer than {COMPILE_TIME:?}"))),
        };
        if !status.success() {
            let said = text_of(&mut errors).map_err(AppError::Process)?;
            return Err(AppError::Compile(if said.is_empty() { how(status) } else { said }));
        }
        let size = output.metadata().map_err(AppError::Process)?.len();
        if size > CODE_SIZE {
            return Err(AppError::Compile(format!("its code is larger than {CODE_SIZE} bytes")));
        }
        let mut code = Vec::with_capacity(size as usize);
        output.rewind().and_then(|()| output.take(CODE_SIZE).read_to_end(&mut code)).map_err(AppError::Process)?;
        Ok(code)
    }
}

/// The name in the cache: what the code depends on.
fn name_of(component: &[u8], fuel: bool) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("blocktree/app-code 1");
    hasher.update(blake3::hash(component).as_bytes());
    engine::identity(fuel, &mut hasher);
    hasher.finalize().to_hex().to_string()
}

/// A file in memory that nobody can change any more.
fn sealed(bytes: &[u8]) -> io::Result<OwnedFd> {
    let file = memfd_create("sealed", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(file);
    file.write_all(bytes)?;
    file.rewind()?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(file.into())
}

/// A file in memory for what a process says, which does not grow whatever that writes.
pub(crate) fn for_last_words() -> io::Result<File> {
    let file = File::from(memfd_create("said", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.set_len(WORDS)?;
    fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(file)
}

fn shared(file: &File) -> Result<Stdio, AppError> {
    Ok(file.try_clone().map_err(AppError::Process)?.into())
}

/// What a process said last, as far as it is kept, on one line.
pub(crate) fn text_of(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(WORDS).read_to_end(&mut bytes)?;
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let last = &bytes[end.saturating_sub(LAST_WORDS)..end];
    Ok(String::from_utf8_lossy(last).split_whitespace().collect::<Vec<_>>().join(" "))
}
