//! Answering commands about apps.

use bt_base::PrincipalId;
use bt_tree::app::{AppName, Installation, PermissionKind, PermissionName};

use super::registry::RegisteredApp;
use super::secrets::Purpose;
use crate::control::app::{AppTerms, InstalledReport, PermissionReport, manifest_bytes};
use crate::control::{Failure, Request, Response};
use crate::node::Node;

impl Node {
    /// Answers the requests that are about apps and tokens; gives any other back.
    pub(crate) fn handle_apps(&self, request: Request) -> Result<Result<Response, Failure>, Request> {
        Ok(match request {
            Request::Apps => Ok(Response::Apps(self.list_apps())),
            Request::AppTerms { name } => self.app_terms(&name),
            Request::AppPut { package, record } => self.put_app(package, &record),
            Request::AppLog { name } => self.app_log(&name),
            Request::AppSecret { name, permission, value } => self.set_secret(&name, &permission, &value.0),
            Request::TokenCreate { principal, until } => self.apps.tokens.create(principal, until).map(Response::Token),
            Request::TokenList => Ok(Response::Tokens(self.apps.tokens.list())),
            Request::TokenRevoke { id } => self.apps.tokens.revoke(&id).map(|()| Response::Done),
            other => return Err(other),
        })
    }

    fn list_apps(&self) -> Vec<InstalledReport> {
        self.apps.all().iter().map(|(name, app)| report(name, app)).collect()
    }

    fn app_terms(&self, name: &str) -> Result<Response, Failure> {
        let name = app_name(name)?;
        let mut terms = AppTerms { tree: *self.zones.node().tree(), installation: None, manifests: vec![] };
        if let Some(app) = self.apps.find(&name) {
            let installation = self.apps.store.installation(&name, &app.record)?;
            let kept = installation.kept.iter().map(|kept| kept.package);
            for id in kept.chain([installation.package]) {
                // One that is gone is said to be so when it is needed.
                terms
                    .manifests
                    .extend(self.apps.store.package(&id).ok().map(|package| (id, manifest_bytes(package.manifest()))));
            }
            let bytes = installation.to_bytes().map_err(|error| Failure::problem(error.to_string(), ""))?;
            terms.installation = Some(bytes);
        }
        Ok(Response::AppTerms(Box::new(terms)))
    }

    fn put_app(&self, package: Option<Vec<u8>>, record: &[u8]) -> Result<Response, Failure> {
        let installation =
            Installation::decode_unnamed(record).map_err(|error| Failure::refused(error.to_string(), ""))?;
        if let Some(package) = package {
            self.apps.store.put_package(package)?;
        }
        // What would be installed is there and whole.
        self.apps.store.package(&installation.package)?;
        Ok(Response::AppRecord { record: self.apps.store.put_installation(record)? })
    }

    fn app_log(&self, name: &str) -> Result<Response, Failure> {
        let app = self.installed(name)?;
        Ok(Response::AppLog(app.1.loaded?.log.lines()))
    }

    fn set_secret(&self, name: &str, permission: &str, value: &str) -> Result<Response, Failure> {
        let (name, app) = self.installed(name)?;
        let loaded = app.loaded?;
        let wanted = |asked: &&bt_tree::app::Permission| asked.name.as_str() == permission;
        let asked = loaded.package.manifest().permissions.iter().find(wanted);
        let permission: &PermissionName = match asked {
            Some(asked) if asked.kind == PermissionKind::Secret => &asked.name,
            _ => {
                let what = format!("{name} asks for no secret {permission:?}");
                return Err(Failure::refused(what, "`bt app info` shows what it asks for"));
            }
        };
        let node = self.zones.node();
        let purpose = Purpose { tree: node.tree(), app: &name, permission };
        let sealed = purpose.seal(&*node.key.store(), value)?;
        self.apps.store.put_secret(&name, permission, &sealed)?;
        Ok(Response::Done)
    }

    fn installed(&self, name: &str) -> Result<(AppName, RegisteredApp), Failure> {
        let name = app_name(name)?;
        match self.apps.find(&name) {
            Some(app) => Ok((name, app)),
            None => Err(Failure::refused(format!("no app {name} is installed"), "`bt app list` shows those that are")),
        }
    }
}

fn app_name(name: &str) -> Result<AppName, Failure> {
    name.parse().map_err(|error: bt_tree::app::words::WordError| Failure::usage(error.to_string(), ""))
}

fn report(name: &AppName, app: &RegisteredApp) -> InstalledReport {
    let RegisteredApp { record, by, since, loaded } = app;
    let empty = InstalledReport {
        name: name.to_string(),
        version: None,
        package: None,
        author: None::<PrincipalId>,
        about: None,
        permissions: vec![],
        kept: vec![],
        enabled: false,
        problem: None,
        record: *record,
        by: *by,
        since: *since,
    };
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(failure) => return InstalledReport { problem: Some(failure.what.clone()), ..empty },
    };
    let (installation, manifest) = (&loaded.installation, loaded.package.manifest());
    let permissions = manifest.permissions.iter().map(|asked| {
        let grant = installation.grant(asked.name.as_str());
        PermissionReport {
            name: asked.name.to_string(),
            allows: asked.in_words(),
            why: asked.why.to_string(),
            granted: grant.map(|grant| grant.in_words()),
            as_app: grant.is_some_and(|grant| grant.as_app),
        }
    });
    InstalledReport {
        version: Some(installation.version.to_string()),
        package: Some(installation.package),
        author: Some(installation.author),
        about: Some(manifest.about.to_string()),
        permissions: permissions.collect(),
        kept: installation.kept.iter().map(|kept| kept.version.to_string()).collect(),
        enabled: installation.enabled,
        ..empty
    }
}
