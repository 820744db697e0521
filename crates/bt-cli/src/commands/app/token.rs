//! `bt app token`: tokens with which callers say who they are.

use std::path::PathBuf;

use bt_node::control::app::{NewToken, TokenReport};
use bt_node::control::{Request, Response};
use clap::Subcommand;

use crate::Outcome;
use crate::arguments::OutputOption;
use crate::output::{print, show, table};
use crate::rights::{named, show as show_rights};
use crate::target::{ask, unexpected};
use crate::units::{from_now, parse_duration, time};

/// Give callers of apps tokens that say whom they act for.
#[derive(Debug, clap::Args)]
pub struct Token {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token, and show it once: `curl -H "Authorization: Bearer TOKEN"` calls as this principal
    ///
    /// Apps that are granted something as caller may then do with it what the principal may. This node keeps a hash.
    Create {
        /// The node's directory, or the mount point
        dir: PathBuf,
        /// For whom: a public key (btp1...), a file with one, or the beginning of an id that `bt access list` shows
        #[arg(long = "for", value_name = "PRINCIPAL")]
        principal: String,
        /// When it ends: so many hours, days, weeks or years from now, as 12h, 90d, 2w, 1y; without it, never
        #[arg(long, value_name = "TIME", value_parser = parse_duration)]
        expires: Option<i64>,
        #[command(flatten)]
        output: OutputOption,
    },
    /// List the tokens that hold
    List {
        /// The node's directory, or the mount point
        dir: PathBuf,
        #[command(flatten)]
        output: OutputOption,
    },
    /// Make a token worthless
    Revoke {
        /// The node's directory, or the mount point
        dir: PathBuf,
        /// Its id, or the beginning of it
        id: String,
    },
}

/// Runs the command.
pub fn run(arguments: &Token) -> Outcome {
    match &arguments.command {
        TokenCommand::Create { dir, principal, expires, output } => {
            let principal = named(principal, &show_rights(dir, "/")?)?;
            let request = Request::TokenCreate { principal, until: expires.map(from_now) };
            match ask(dir, true, request)? {
                Response::Token(token) => show(output.output, &token, created),
                other => Err(unexpected(&other).into()),
            }
        }
        TokenCommand::List { dir, output } => match ask(dir, false, Request::TokenList)? {
            Response::Tokens(tokens) => show(output.output, &tokens, |tokens| listed(tokens)),
            other => Err(unexpected(&other).into()),
        },
        TokenCommand::Revoke { dir, id } => match ask(dir, true, Request::TokenRevoke { id: id.clone() })? {
            Response::Done => print("the token is worth nothing any more\n"),
            other => Err(unexpected(&other).into()),
        },
    }
}

fn created(token: &NewToken) -> String {
    format!("{}\n", token.token)
}

fn listed(tokens: &[TokenReport]) -> String {
    let row = |token: &TokenReport| {
        let until = token.until.map_or_else(|| "-".to_owned(), time);
        vec![token.id.clone(), token.principal.short(), until, time(token.created)]
    };
    table(&["token", "for", "until", "since"], &[false; 4], &tokens.iter().map(row).collect::<Vec<_>>())
}
