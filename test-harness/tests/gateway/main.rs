//! Apps on a real node: installed with `bt app`, run in processes of their own, called over HTTP.

mod guest;
mod served;

use anyhow::{Context, Result, ensure};
use guest::{Author, hangs, says};
use served::Served;

fn text(path: &std::path::Path) -> Result<&str> {
    path.to_str().context("paths of tests are text")
}

/// A served tree and an author.
fn bed(name: &str) -> Result<(Served, Author)> {
    let served = Served::new(name)?;
    let author = Author::new(&served.path("author"), served.tree.passphrase_file())?;
    Ok((served, author))
}

fn package_id(served: &Served, name: &str) -> Result<String> {
    let listed = served.app_done("list", &["--output", "json"])?;
    let apps: serde_json::Value = serde_json::from_str(&listed)?;
    let app = apps.as_array().into_iter().flatten().find(|app| app["name"] == name);
    Ok(app.and_then(|app| app["package"].as_str()).context("the app is listed with its package")?.to_owned())
}

#[test]
fn an_app_answers_by_its_name_its_package_and_its_host_until_it_is_stopped_and_removed() -> Result<()> {
    let (mut served, author) = bed("gateway-life")?;
    let package = author.package("hello", "1.0.0", &says("hello\n")?, "")?;
    ensure!(served.status("/app/hello/")? == 404, "nothing is installed");
    served.app_done("install", &[text(&package)?, "--grant-none"])?;
    let answer = served.ask("GET", "/app/hello/any?x=1", &[])?;
    ensure!((answer.status, answer.body.contains("hello")) == (200, true), "{} {}", answer.status, answer.body);
    ensure!(answer.head.contains("content-security-policy: sandbox"), "{}", answer.head);
    let own = served.ask("GET", "/", &["Host: hello.localhost"])?;
    ensure!(own.status == 200 && !own.head.contains("content-security-policy"), "{}", own.head);
    let id = package_id(&served, "hello")?;
    ensure!(served.status(&format!("/fn/{id}/"))? == 200);
    ensure!(served.status(&format!("/fn/{}/", "0".repeat(64)))? == 404);
    served.app_done("stop", &["hello"])?;
    ensure!(served.status("/app/hello/")? == 503 && served.status(&format!("/fn/{id}/"))? == 404);
    served.app_done("start", &["hello"])?;
    ensure!(served.status("/app/hello/")? == 200);
    // What is installed is in the tree, not in the process.
    let log = served.kill()?;
    ensure!(log.contains("/app/hello/any") && !log.contains("x=1"), "the log has paths and no queries: {log}");
    served.tree.check_clean()?;
    served.start(&[])?;
    ensure!(served.status("/app/hello/")? == 200);
    served.app_done("remove", &["hello"])?;
    ensure!(served.status("/app/hello/")? == 404 && served.status(&format!("/fn/{id}/"))? == 404);
    ensure!(served.app("remove", &["hello"])?.code() == 3);
    served.stop()?;
    served.tree.check_clean()
}

#[test]
fn an_upgrade_retires_the_id_before_waits_for_consent_and_can_be_taken_back() -> Result<()> {
    let (mut served, author) = bed("gateway-upgrade")?;
    let one = author.package("hello", "1.0.0", &says("one\n")?, "")?;
    let asks = "[permissions.notes]\nfiles = \"/notes\"\nwhy = \"For a test.\"\n";
    let two = author.package("hello", "1.1.0", &says("two\n")?, asks)?;
    served.app_done("install", &[text(&one)?])?;
    let id = package_id(&served, "hello")?;
    let waits = served.app("upgrade", &[text(&two)?])?;
    ensure!(waits.code() == 3 && waits.stderr.contains("read what is in /notes"), "{}", waits.stderr);
    ensure!(served.ask("GET", "/app/hello/", &[])?.body.contains("one"));
    served.app_done("upgrade", &[text(&two)?, "--grant", "notes"])?;
    ensure!(served.ask("GET", "/app/hello/", &[])?.body.contains("two"));
    ensure!(served.status(&format!("/fn/{id}/"))? == 404, "the id before is retired");
    let again = served.app("upgrade", &[text(&one)?])?;
    ensure!(again.code() == 3 && again.stderr.contains("only rise"), "{}", again.stderr);
    served.app_done("rollback", &["hello"])?;
    ensure!(served.ask("GET", "/app/hello/", &[])?.body.contains("one"));
    let stranger = Author::new(&served.path("stranger"), served.tree.passphrase_file())?;
    let other = stranger.package("hello", "2.0.0", &says("stranger\n")?, "")?;
    let refused = served.app("upgrade", &[text(&other)?, "--grant-all"])?;
    ensure!(refused.code() == 3 && refused.stderr.contains("same author"), "{}", refused.stderr);
    served.stop().map(drop)
}

#[test]
fn requests_for_other_hosts_from_other_pages_and_with_wrong_tokens_are_refused() -> Result<()> {
    let (mut served, author) = bed("gateway-callers")?;
    let package = author.package("hello", "1.0.0", &says("hello\n")?, "")?;
    served.app_done("install", &[text(&package)?])?;
    ensure!(served.ask("GET", "/app/hello/", &["Host: evil.example"])?.status == 421);
    ensure!(served.ask("POST", "/app/hello/", &["Origin: http://evil.example"])?.status == 403);
    ensure!(served.ask("POST", "/app/hello/", &["Origin: null"])?.status == 403);
    ensure!(served.ask("POST", "/app/hello/", &[])?.status == 200);
    ensure!(served.ask("PROPFIND", "/app/hello/", &[])?.status == 200, "any method is passed on");
    let wrong = format!("Authorization: Bearer btt1{}", "0".repeat(64));
    let refused = served.ask("GET", "/app/hello/", &[&wrong])?;
    ensure!(refused.status == 401 && refused.head.contains("www-authenticate: bearer"), "{}", refused.head);
    ensure!(served.ask("GET", "/app/hello/", &["Authorization: Bearer of-the-app"])?.status == 200);
    let token = served.tree.run(&["app", "token", "create"], &["--for", &author.public()?])?;
    ensure!(token.code() == 0, "{}", token.stderr);
    let field = format!("Authorization: Bearer {}", token.stdout.trim());
    ensure!(served.ask("GET", "/app/hello/", &[&field])?.status == 200);
    let listed = served.tree.run(&["app", "token", "list"], &["--output", "json"])?.stdout;
    ensure!(!listed.contains(token.stdout.trim()), "a token is shown once");
    let listed: serde_json::Value = serde_json::from_str(&listed)?;
    let id = listed[0]["id"].as_str().context("a token has an id")?;
    let revoked = served.tree.run(&["app", "token", "revoke"], &[id])?;
    ensure!(revoked.code() == 0, "{}", revoked.stderr);
    ensure!(served.ask("GET", "/app/hello/", &[&field])?.status == 401);
    let log = served.stop()?;
    ensure!(!log.contains(token.stdout.trim()), "no log has a token");
    Ok(())
}

#[test]
fn an_app_that_never_answers_costs_its_own_time_and_nothing_of_others() -> Result<()> {
    let (mut served, author) = bed("gateway-limits")?;
    let good = author.package("hello", "1.0.0", &says("hello\n")?, "")?;
    let bad = author.package("stuck", "1.0.0", &hangs()?, "[limits]\ntime = \"1s\"\nbody = \"10\"\n")?;
    for package in [&good, &bad] {
        served.app_done("install", &[text(package)?])?;
    }
    std::thread::scope(|scope| -> Result<()> {
        let stuck: Vec<_> = (0..4).map(|_| scope.spawn(|| served.status("/app/stuck/"))).collect();
        for _ in 0..10 {
            ensure!(served.status("/app/hello/")? == 200);
        }
        for status in stuck {
            ensure!(status.join().expect("asking does not panic")? == 504);
        }
        Ok(())
    })?;
    ensure!(served.ask("POST", "/app/stuck/", &["Content-Length: 11"])?.status == 413);
    let log = served.app_done("logs", &["stuck"])?;
    ensure!(log.contains("did not finish"), "{log}");
    served.stop().map(drop)
}
