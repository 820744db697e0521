//! The folder of an app, and the `app.toml` in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bt_node::control::Failure;
use bt_tree::app::{Entry, Handover, Limits, Manifest, Part, Permission, PermissionKind, TreePath, Version, limits};
use serde::Deserialize;

use super::component::Component;
use crate::principal::credential_of;
use crate::units::parse_bytes;

/// The file that makes a folder that of an app.
pub const FILE: &str = "app.toml";
const HINT: &str = "doc/apps.md says what an app.toml has; `bt app new` makes one";

/// The folder of an app.
#[derive(Debug)]
pub struct Project {
    folder: PathBuf,
    file: AppToml,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AppToml {
    name: String,
    version: String,
    about: String,
    author: Option<String>,
    #[serde(default)]
    handovers: Vec<PathBuf>,
    #[serde(default)]
    entries: Vec<PlainEntry>,
    #[serde(default)]
    watch: Vec<String>,
    minimum_node: Option<String>,
    assets: Option<PathBuf>,
    build: BuildToml,
    #[serde(default)]
    permissions: BTreeMap<String, PermissionToml>,
    #[serde(default)]
    limits: LimitsToml,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PlainEntry {
    Http,
    Job,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BuildToml {
    command: Option<String>,
    component: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PermissionToml {
    files: Option<String>,
    #[serde(default)]
    write: bool,
    http: Option<String>,
    #[serde(default)]
    secret: bool,
    #[serde(default)]
    messages: bool,
    #[serde(default)]
    environment: bool,
    why: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsToml {
    memory: Option<String>,
    time: Option<String>,
    calls: Option<u32>,
    body: Option<String>,
    output: Option<String>,
    log: Option<String>,
    table_elements: Option<u32>,
    instances: Option<u32>,
    fuel: Option<u64>,
}

impl Project {
    /// Reads the `app.toml` of a folder.
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let what = format!("{} is no folder of an app: it has no {FILE}", folder.display());
                return Err(Failure::usage(what, "name the folder that `bt app new` made"));
            }
            Err(error) => return Err(Failure::io(format_args!("reading {}", path.display()), &error)),
        };
        let file = toml::from_str(&text).map_err(|error| {
            Failure::usage(
                format!("{} does not say what an app is:\n{}", path.display(), error.to_string().trim()),
                HINT,
            )
        })?;
        let project = Self { folder: folder.to_owned(), file };
        project.name_and_version().map(|_| project)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The command that builds it, if it has one.
    pub fn build_command(&self) -> Option<&str> {
        self.file.build.command.as_deref()
    }

    /// Where its package lies.
    pub fn package_path(&self) -> PathBuf {
        self.folder.join(format!("{}-{}.btpkg", self.file.name, self.file.version))
    }

    /// What the last build made, as a component that has what the entries need.
    pub fn component(&self) -> Result<Component, Failure> {
        let path = self.folder.join(&self.file.build.component);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let what = format!("there is no {}: the app is not built", path.display());
                return Err(Failure::refused(
                    what,
                    "build it with `bt app build`; [build] component says what that makes",
                ));
            }
            Err(error) => return Err(Failure::io(format_args!("reading {}", path.display()), &error)),
        };
        let component = Component::new(&path, bytes)?;
        component.check_entries(&self.entries()?)?;
        Ok(component)
    }

    /// What the manifest says, but for component and assets. `author` goes before the one in the file.
    pub fn manifest(&self, author: Option<&str>) -> Result<Manifest, Failure> {
        let (name, version) = self.name_and_version()?;
        let author = match (author, &self.file.author) {
            (Some(author), _) => credential_of(author)?,
            (None, Some(author)) => credential_of(author)?,
            (None, None) => {
                let what = format!("nobody is named as author of {}", self.file.name);
                let hint = "name the principal that will sign it, with --author FILE or as `author` in app.toml; `bt \
                            principal create FILE` makes one";
                return Err(Failure::usage(what, hint));
            }
        };
        Ok(Manifest {
            name,
            version,
            about: self.word("about", &self.file.about)?,
            author,
            handovers: self.file.handovers.iter().map(|path| self.handover(path)).collect::<Result<_, _>>()?,
            entries: self.entries()?,
            permissions: self.permissions()?,
            limits: self.limits()?,
            minimum_node: match &self.file.minimum_node {
                Some(version) => self.word("minimum_node", version)?,
                None => env!("CARGO_PKG_VERSION").parse().expect("bt has a version of three numbers"),
            },
            component: Part::of(b""),
            assets: Vec::new(),
        })
    }

    /// The files of the folder of assets, by their names below it.
    pub fn assets(&self) -> Result<BTreeMap<TreePath, Vec<u8>>, Failure> {
        let mut assets = BTreeMap::new();
        if let Some(folder) = &self.file.assets {
            self.collect(&self.folder.join(folder), "", &mut assets)?;
        }
        Ok(assets)
    }

    fn collect(&self, folder: &Path, under: &str, assets: &mut BTreeMap<TreePath, Vec<u8>>) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::io(format_args!("reading {}", folder.display()), &error);
        for entry in fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
            let odd = |why: &str| {
                let what = format!("{} cannot be an asset: {why}", path.display());
                Failure::usage(what, "assets are plain files in folders")
            };
            let name = format!("{under}{}", entry.file_name().to_str().ok_or_else(|| odd("its name is not UTF-8"))?);
            if kind.is_dir() {
                self.collect(&path, &format!("{name}/"), assets)?;
            } else if kind.is_file() {
                if assets.len() == limits::ASSETS {
                    return Err(odd(&format!("there are {} others, which is the most", limits::ASSETS)));
                }
                let name = self.word("assets", &name)?;
                assets.insert(name, fs::read(&path).map_err(failed)?);
            } else {
                return Err(odd("it is neither a file nor a folder"));
            }
        }
        Ok(())
    }

    fn name_and_version(&self) -> Result<(bt_tree::app::AppName, Version), Failure> {
        Ok((self.word("name", &self.file.name)?, self.word("version", &self.file.version)?))
    }

    fn entries(&self) -> Result<Vec<Entry>, Failure> {
        let plain = self.file.entries.iter().map(|entry| {
            Ok(match entry {
                PlainEntry::Http => Entry::Http,
                PlainEntry::Job => Entry::Job,
            })
        });
        let watch = self.file.watch.iter().map(|name| Ok(Entry::Watch { files: self.word("watch", name)? }));
        let mut entries: Vec<Entry> = plain.chain(watch).collect::<Result<_, Failure>>()?;
        entries.sort();
        Ok(entries)
    }

    fn handover(&self, path: &Path) -> Result<Handover, Failure> {
        let path = self.folder.join(path);
        let bytes = fs::read(&path).map_err(|error| Failure::io(format_args!("reading {}", path.display()), &error))?;
        Handover::decode(&bytes)
            .map_err(|error| Failure::problem(format!("{} is no handover: {error}", path.display()), HINT))
    }

    fn permissions(&self) -> Result<Vec<Permission>, Failure> {
        let permission = |(name, asked): (&String, &PermissionToml)| {
            Ok(Permission {
                name: self.word("permissions", name)?,
                kind: self.kind(name, asked)?,
                why: self.word(&format!("permissions.{name}.why"), &asked.why)?,
            })
        };
        self.file.permissions.iter().map(permission).collect()
    }

    fn kind(&self, name: &str, asked: &PermissionToml) -> Result<PermissionKind, Failure> {
        let key = format!("permissions.{name}");
        let mut kinds = Vec::new();
        if let Some(path) = &asked.files {
            kinds.push(PermissionKind::Files { path: self.word(&key, path)?, write: asked.write });
        }
        if let Some(address) = &asked.http {
            let (host, port) = address.rsplit_once(':').unwrap_or((address, "443"));
            let port = port.parse().map_err(|_| self.wrong(&key, &format!("{port:?} is no port")))?;
            kinds.push(PermissionKind::Http { host: self.word(&key, host.trim_matches(['[', ']']))?, port });
        }
        let flags = [
            (asked.secret, PermissionKind::Secret),
            (asked.messages, PermissionKind::Messages),
            (asked.environment, PermissionKind::Environment),
        ];
        kinds.extend(flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, kind)| kind));
        match <[PermissionKind; 1]>::try_from(kinds) {
            Ok([PermissionKind::Files { path, write }]) => Ok(PermissionKind::Files { path, write }),
            Ok(_) if asked.write => Err(self.wrong(&key, "`write` goes only with `files`")),
            Ok([kind]) => Ok(kind),
            Err(_) => {
                let why = "it is exactly one of files = \"/PATH\", http = \"HOST:PORT\", secret, messages and environment = true";
                Err(self.wrong(&key, why))
            }
        }
    }

    fn limits(&self) -> Result<Limits, Failure> {
        let (said, least) = (&self.file.limits, Limits::default());
        let bytes = |key: &str, text: &Option<String>, otherwise: u64| match text {
            None => Ok(otherwise),
            Some(text) => parse_bytes(text).map_err(|why| self.wrong(&format!("limits.{key}"), &why)),
        };
        Ok(Limits {
            memory_bytes: bytes("memory", &said.memory, least.memory_bytes)?,
            call_ms: match &said.time {
                None => least.call_ms,
                Some(text) => milliseconds(text).ok_or_else(|| {
                    self.wrong("limits.time", &format!("{text:?} is no length of time: use ms, s, m or h, as 30s"))
                })?,
            },
            concurrent_calls: said.calls.unwrap_or(least.concurrent_calls),
            body_bytes: bytes("body", &said.body, least.body_bytes)?,
            output_bytes: bytes("output", &said.output, least.output_bytes)?,
            log_bytes: bytes("log", &said.log, least.log_bytes)?,
            table_elements: said.table_elements.unwrap_or(least.table_elements),
            instances: said.instances.unwrap_or(least.instances),
            fuel: said.fuel,
        })
    }

    /// A value of the file.
    fn word<T: FromStr<Err = bt_tree::app::words::WordError>>(&self, key: &str, text: &str) -> Result<T, Failure> {
        text.parse().map_err(|error: bt_tree::app::words::WordError| self.wrong(key, &error.to_string()))
    }

    fn wrong(&self, key: &str, why: &str) -> Failure {
        Failure::usage(format!("{}, {key}: {why}", self.folder.join(FILE).display()), HINT)
    }
}

fn milliseconds(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
        name = "notes"
        version = "1.2.3"
        about = "Keeps notes."
        entries = ["job", "http"]
        watch = ["incoming"]
        minimum_node = "0.1.0"
        [build]
        component = "notes.wasm"
        [permissions.incoming]
        files = "/in"
        write = true
        why = "To read what comes."
        [permissions.weather]
        http = "api.example.com:8443"
        why = "To know it."
        [permissions.token]
        secret = true
        why = "To be let in."
        [limits]
        memory = "16MiB"
        time = "2m"
        fuel = 1000
    "#;

    fn author() -> String {
        use bt_crypto::{KeyStore, SoftwareKeyStore};
        SoftwareKeyStore::from_seed(&[1; 32]).credential().to_string()
    }

    fn project(text: &str) -> Result<Manifest, Failure> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), text).unwrap();
        Project::open(folder.path())?.manifest(Some(&author()))
    }

    #[test]
    fn a_manifest_is_what_the_file_says() {
        let manifest = project(WHOLE).unwrap();
        assert_eq!((manifest.name.as_str(), manifest.version), ("notes", Version::new(1, 2, 3)));
        let watch = Entry::Watch { files: "incoming".parse().unwrap() };
        assert_eq!(manifest.entries, [Entry::Http, Entry::Job, watch]);
        let kinds: Vec<_> = manifest.permissions.iter().map(|asked| asked.kind.clone()).collect();
        let host = "api.example.com".parse().unwrap();
        let files = PermissionKind::Files { path: "in".parse().unwrap(), write: true };
        assert_eq!(kinds, [files, PermissionKind::Secret, PermissionKind::Http { host, port: 8443 }]);
        let expected = Limits { memory_bytes: 16 << 20, call_ms: 120_000, fuel: Some(1000), ..Limits::default() };
        assert_eq!(manifest.limits, expected);
        assert_eq!(manifest.check(), Ok(()));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let cases = [
            ("name = \"notes\"", "name = \"Notes\"", "app.toml, name: \"Notes\" is no name of an app"),
            ("version = \"1.2.3\"", "version = \"1.2\"", "version: \"1.2\" is no version"),
            ("files = \"/in\"", "files = \"../in\"", "permissions.incoming: \"../in\" is no path"),
            ("secret = true", "secret = true\nfiles = \"/a\"", "permissions.token: it is exactly one of"),
            ("secret = true", "", "permissions.token: it is exactly one of"),
            ("secret = true", "secret = true\nwrite = true", "permissions.token: `write` goes only with `files`"),
            (":8443", ":80000", "permissions.weather: \"80000\" is no port"),
            ("\"2m\"", "\"2\"", "limits.time: \"2\" is no length of time"),
            ("\"16MiB\"", "\"16X\"", "limits.memory: \"X\" is no unit"),
            ("about =", "colour =", "unknown field `colour`"),
            ("\"job\"", "\"cron\"", "unknown variant `cron`"),
        ];
        for (good, bad, expected) in cases {
            let failure = project(&WHOLE.replace(good, bad)).unwrap_err();
            assert!(failure.what.contains(expected), "{:?} instead of {expected:?}", failure.what);
        }
    }

    #[test]
    fn an_author_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), WHOLE).unwrap();
        let failure = Project::open(folder.path()).unwrap().manifest(None).unwrap_err();
        assert_eq!(failure.what, "nobody is named as author of notes");
        assert!(Project::open(&folder.path().join("nowhere")).unwrap_err().what.contains("it has no app.toml"));
    }

    #[test]
    fn addresses_have_a_port_or_that_of_https() {
        let kind = |address: &str| {
            let manifest = project(&WHOLE.replace("api.example.com:8443", address)).unwrap();
            manifest.permissions[2].kind.clone()
        };
        let http = |host: &str, port| PermissionKind::Http { host: host.parse().unwrap(), port };
        assert_eq!(kind("example.com"), http("example.com", 443));
        assert_eq!(kind("[::1]:80"), http("::1", 80));
    }

    #[test]
    fn assets_are_the_files_below_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        let text = WHOLE.replace("minimum_node", "assets = \"static\"\nminimum_node");
        fs::write(folder.path().join(FILE), text).unwrap();
        let assets = folder.path().join("static");
        fs::create_dir_all(assets.join("css")).unwrap();
        fs::write(assets.join("index.html"), "<p>").unwrap();
        fs::write(assets.join("css/a.css"), "").unwrap();
        let project = Project::open(folder.path()).unwrap();
        let names: Vec<String> = project.assets().unwrap().keys().map(ToString::to_string).collect();
        assert_eq!(names, ["/css/a.css", "/index.html"]);
        std::os::unix::fs::symlink("/etc/passwd", assets.join("link")).unwrap();
        assert!(
            project.assets().unwrap_err().what.ends_with("link cannot be an asset: it is neither a file nor a folder")
        );
    }
}
