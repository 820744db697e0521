//! `bt app new`: the folder of a new app.

use std::fs;
use std::path::PathBuf;

use bt_node::control::Failure;
use bt_tree::app::AppName;

use crate::Outcome;
use crate::authoring::templates::{Language, Template, files};
use crate::output::print;
use crate::principal::credential_of;

/// Make the folder of a new app
///
/// The folder has the app's name and lies in the current one. It holds a small app that works, and its app.toml.
#[derive(Debug, clap::Args)]
pub struct New {
    /// What the app is called: small letters, digits and hyphens
    name: String,
    /// How it is called
    #[arg(long, value_enum, default_value_t)]
    template: Template,
    /// What it is written in
    #[arg(long, value_enum, default_value_t)]
    lang: Language,
    /// Who is going to sign it: a credential file, a file with a public key, or the public key
    #[arg(long, value_name = "PRINCIPAL")]
    author: Option<String>,
}

/// Runs the command.
pub fn run(arguments: &New) -> Outcome {
    let name: AppName = arguments.name.parse().map_err(|error: bt_tree::app::words::WordError| {
        Failure::usage(error.to_string(), "as in: bt app new my-notes")
    })?;
    let author = arguments.author.as_deref().map(credential_of).transpose()?;
    let files = files(arguments.lang, arguments.template, name.as_str(), author.as_ref())?;
    let folder = PathBuf::from(name.as_str());
    if let Err(error) = fs::create_dir(&folder) {
        return Err(match error.kind() {
            std::io::ErrorKind::AlreadyExists => Failure::refused(
                format!("{} exists already", folder.display()),
                "choose another name, or another place",
            ),
            _ => Failure::io(format_args!("making {}", folder.display()), &error),
        }
        .into());
    }
    for (path, content) in files {
        let path = folder.join(path);
        let parent = path.parent().expect("it lies in the folder");
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, content))
            .map_err(|error| Failure::io(format_args!("writing {}", path.display()), &error))?;
    }
    print(&format!("made {name}/; next: cd {name} && bt app build\n"))
}
