//! `bt node run`: serves the apps of a tree over HTTP, with or without a mount.

use std::net::SocketAddr;
use std::path::PathBuf;

use bt_app::Program;
use bt_node::HttpOptions;
use bt_node::control::Failure;
use bt_node::options::{MountOptions, OpenOptions};
use bt_tree::app::AppName;

use crate::output::note;
use crate::running::{self, Plan};
use crate::{Outcome, log, mounts, target};

/// Serve the apps of a tree over HTTP, until SIGINT or SIGTERM.
///
/// `curl http://ADDR:PORT/app/NAME/...` calls an app by its name, `/fn/PACKAGE/...` by the id of its package, and
/// the host NAME.localhost:PORT gives it a web origin of its own. Runs in the foreground and logs to standard error;
/// commands on DIR are answered by it.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// The node's directory
    dir: PathBuf,
    /// Where to listen, as 127.0.0.1:8080
    #[arg(long, value_name = "ADDR:PORT")]
    http: SocketAddr,
    /// Mount the tree there, too; unmounting it ends all
    #[arg(long, value_name = "MOUNTPOINT")]
    mount: Option<PathBuf>,
    /// Answer for this host name, too; with =APP, that app answers there and has the web origin for itself
    #[arg(long = "host", value_name = "HOST[=APP]", value_parser = host)]
    hosts: Vec<(String, Option<AppName>)>,
    /// A PEM file with the certificate, and those that certify it: listen for HTTPS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// A PEM file with its private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

fn host(text: &str) -> Result<(String, Option<AppName>), String> {
    let (host, app) = text.split_once('=').map_or((text, None), |(host, app)| (host, Some(app)));
    let is_host = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if !is_host {
        return Err("give a host name without a port".into());
    }
    let app = app.map(str::parse).transpose().map_err(|error: bt_tree::app::words::WordError| error.to_string())?;
    Ok((host.to_owned(), app))
}

/// Runs the command.
pub fn run(arguments: &Run) -> Outcome {
    let dir = mounts::place(&arguments.dir);
    target::check_dir(&dir)?;
    log::to_stderr()?;
    let path = std::env::current_exe().map_err(|error| Failure::io("finding this program", &error))?;
    let scheme = if arguments.tls_cert.is_some() { "https" } else { "http" };
    let plan = Plan {
        dir,
        mountpoint: arguments.mount.as_deref().map(mounts::place),
        open: OpenOptions::default(),
        mount: MountOptions::default(),
        http: HttpOptions {
            address: arguments.http,
            hosts: arguments.hosts.clone(),
            tls: arguments.tls_cert.clone().zip(arguments.tls_key.clone()),
            program: Program { path, arguments: vec!["internal".into()] },
        },
    };
    Ok(running::run(&plan, |address| note(&format!("serving {scheme}://{address}/")))?)
}
