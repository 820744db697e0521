//! The folders that `bt app new` makes. They lie in `templates/` of this crate; `{{name}}` and the like are filled in.

use bt_crypto::Credential;
use bt_node::control::Failure;
use clap::ValueEnum;

/// How an app is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Template {
    /// It answers over HTTP.
    #[default]
    Http,
    /// It runs once, and ends.
    Job,
    /// It runs when something changes in a directory.
    Watch,
}

/// What an app is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// Rust.
    #[default]
    Rust,
    /// C.
    C,
    /// JavaScript.
    Js,
}

macro_rules! folder {
    ($folder:literal, [$($path:literal),*]) => {
        &[$(($path, include_str!(concat!("../../templates/", $folder, "/", $path)))),*]
    };
}

/// Paths in a folder, and what is in those files.
type Files = &'static [(&'static str, &'static str)];

/// All there are.
const FOLDERS: &[(Language, Template, Files)] = &[
    (Language::Rust, Template::Http, folder!("rust-http", ["app.toml", "Cargo.toml", "src/lib.rs", "src/http.rs"])),
    (Language::Rust, Template::Job, folder!("rust-job", ["app.toml", "Cargo.toml", "src/main.rs"])),
    (Language::Rust, Template::Watch, folder!("rust-watch", ["app.toml", "Cargo.toml", "src/main.rs"])),
    (Language::C, Template::Job, folder!("c-job", ["app.toml", "main.c"])),
    (Language::C, Template::Watch, folder!("c-watch", ["app.toml", "main.c"])),
    (Language::Js, Template::Http, JS_HTTP),
];

const JS_HTTP: Files = folder!(
    "js-http",
    [
        "app.toml",
        "app.js",
        "http.js",
        "text.js",
        "build.sh",
        "wit/world.wit",
        "wit/deps/cli.wit",
        "wit/deps/clocks.wit",
        "wit/deps/filesystem.wit",
        "wit/deps/http.wit",
        "wit/deps/io.wit",
        "wit/deps/random.wit",
        "wit/deps/sockets.wit"
    ]
);

/// The files of a new app, by their paths in its folder.
pub fn files(
    language: Language,
    template: Template,
    name: &str,
    author: Option<&Credential>,
) -> Result<Vec<(&'static str, String)>, Failure> {
    let author = match author {
        Some(author) => format!("author = \"{author}\""),
        None => "# Who signs it: what `bt principal show FILE` gives as public key.\n# author = \"btp1...\"".to_owned(),
    };
    let fill = |text: &str| {
        let text = text.replace("{{name}}", name).replace("{{crate}}", &name.replace('-', "_"));
        text.replace("{{author}}", &author)
    };
    let found = FOLDERS.iter().find(|(of, kind, _)| (*of, *kind) == (language, template));
    let (.., files) = found.ok_or_else(|| none(language, template))?;
    let ignored = (".gitignore", "/target\n*.btpkg\n".to_owned());
    Ok(files.iter().map(|(path, text)| (*path, fill(text))).chain([ignored]).collect())
}

fn none(language: Language, template: Template) -> Failure {
    let name = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
        value().map_or_else(String::new, |value| value.get_name().to_owned())
    };
    let (language_name, template_name) =
        (name(&|| language.to_possible_value()), name(&|| template.to_possible_value()));
    let others: Vec<String> = FOLDERS
        .iter()
        .filter(|(of, ..)| *of == language)
        .map(|(_, kind, _)| name(&|| kind.to_possible_value()))
        .collect();
    Failure::usage(
        format!("there is no template {template_name} in {language_name}"),
        format!("in {language_name} there are: {}", others.join(", ")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authoring::project::Project;

    #[test]
    fn each_template_is_an_app_that_can_be_packed() {
        let author = *bt_crypto::KeyStore::credential(&bt_crypto::SoftwareKeyStore::from_seed(&[1; 32]));
        for (language, template, _) in FOLDERS {
            let folder = tempfile::tempdir().unwrap();
            for (path, content) in files(*language, *template, "my-app", Some(&author)).unwrap() {
                assert!(!content.contains("{{"), "{path}: {content}");
                std::fs::create_dir_all(folder.path().join(path).parent().unwrap()).unwrap();
                std::fs::write(folder.path().join(path), content).unwrap();
            }
            let project = Project::open(folder.path()).unwrap();
            let manifest = project.manifest(None).unwrap();
            assert_eq!((manifest.check(), manifest.author), (Ok(()), author), "{language:?} {template:?}");
            assert!(project.build_command().is_some());
        }
    }

    #[test]
    fn what_there_is_no_template_for_is_said() {
        let failure = files(Language::C, Template::Http, "my-app", None).unwrap_err();
        assert_eq!((&*failure.what, &*failure.hint), ("there is no template http in c", "in c there are: job, watch"));
    }

    #[test]
    fn new_apps_and_examples_handle_requests_by_the_same_lines() {
        let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../test-harness/apps/");
        let same = [
            ("notes/src/http.rs", include_str!("../../templates/rust-http/src/http.rs")),
            ("inbox/http.js", include_str!("../../templates/js-http/http.js")),
            ("inbox/text.js", include_str!("../../templates/js-http/text.js")),
        ];
        for (example, template) in same {
            assert_eq!(std::fs::read_to_string(format!("{examples}{example}")).unwrap(), template, "{example}");
        }
    }
}
