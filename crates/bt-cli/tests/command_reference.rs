//! doc/commands.md is what `bt help` says. `BT_UPDATE=1 cargo test -p bt-cli --test command_reference` rewrites it.

use std::path::Path;

use clap::CommandFactory;

fn reference() -> String {
    let mut command = bt_cli::arguments::Arguments::command().disable_help_subcommand(true).max_term_width(100);
    command = command.term_width(100);
    command.build();
    let mut text = String::from(
        "# Commands\n\nThis page is made from the help of the program by a test; `tools/fix` writes it anew.\n",
    );
    section(&command, &mut text);
    text
}

fn section(command: &clap::Command, text: &mut String) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let help = command.clone().render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    text.push_str(&format!("\n## {name}\n\n```text\n{}\n```\n", help.join("\n").trim_end()));
    command.get_subcommands().filter(|sub| !sub.is_hide_set()).for_each(|sub| section(sub, text));
}

#[test]
fn the_command_reference_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../doc/commands.md");
    let text = reference();
    if std::env::var_os("BT_UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "doc/commands.md is not what the commands say; run tools/fix\n{text}");
}

#[test]
fn every_command_explains_itself_and_its_arguments() {
    fn check(command: &clap::Command) {
        assert!(command.get_about().is_some(), "{} has no description", command.get_name());
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            assert!(argument.get_help().is_some(), "{} {} has no help", command.get_name(), argument.get_id());
        }
        command.get_subcommands().for_each(check);
    }
    check(&bt_cli::arguments::Arguments::command());
}
