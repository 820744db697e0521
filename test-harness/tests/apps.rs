//! Apps from their sources: the examples and the templates, with real compilers.

use std::fs;
use std::path::Path;

use harness::{Author, Scratch};

/// What `bt app info` says of a package.
fn info(author: &Author, package: &Path) -> serde_json::Value {
    let shown = author.bt(&["app", "info", package.to_str().unwrap(), "--output", "json"]).unwrap();
    serde_json::from_str(&shown.stdout).unwrap()
}

#[test]
fn each_example_becomes_a_signed_package() {
    let scratch = Scratch::new("example-apps").unwrap();
    let author = Author::new(&scratch).unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/apps")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let info = info(&author, &author.example(&name).unwrap());
        assert_eq!((info["name"].as_str(), info["signed"].as_bool()), (Some(&*name), Some(true)));
        assert_eq!(info["permissions"].as_array().unwrap().len(), 1, "each asks for its directory only: {info}");
        names.push(name);
    }
    names.sort();
    assert_eq!(names, ["album", "checksums", "inbox", "notes", "wordcount"]);
}

#[test]
fn each_template_can_be_built_as_it_is() {
    let scratch = Scratch::new("new-apps").unwrap();
    let author = Author::new(&scratch).unwrap();
    let all = [("rust", "http"), ("rust", "job"), ("rust", "watch"), ("c", "job"), ("c", "watch"), ("js", "http")];
    for (language, template) in all {
        let name = format!("{language}-{template}");
        author.bt(&["app", "new", &name, "--lang", language, "--template", template]).unwrap();
        let built = author.bt(&["app", "build", &name]).unwrap();
        assert!(built.stdout.starts_with("built a component of "), "{}", built.stdout);
        assert!(!built.stderr.contains("warning"), "{}", built.stderr);
        let entries = info(&author, &author.pack(&name).unwrap())["entries"].clone();
        let expected = match template {
            "http" => "over HTTP",
            "job" => "as a job",
            _ => "when something changes in its directory files",
        };
        assert_eq!(entries, serde_json::json!([expected]));
    }
}
