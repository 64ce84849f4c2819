//! `nightdrop help`, `completions` and `man`: the command line told by itself, from the definition that it is parsed with.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;

use super::output::{self, Failure, Outcome};

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  nightdrop help request new")]
pub(super) struct Help {
    /// The command [default: all of them]
    #[arg(value_name = "COMMAND")]
    path: Vec<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  nightdrop completions bash > /etc/bash_completion.d/nightdrop
  nightdrop completions zsh > /usr/share/zsh/site-functions/_nightdrop
  nightdrop completions fish > ~/.config/fish/completions/nightdrop.fish")]
pub(super) struct Completions {
    shell: Shell,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  nightdrop man /usr/local/share/man/man1")]
pub(super) struct Manual {
    /// An existing folder
    folder: PathBuf,
}

pub(super) fn help(given: &Help, mut line: Command) -> Outcome {
    line.build();
    let mut found = &mut line;
    for name in &given.path {
        found = found.find_subcommand_mut(name).ok_or_else(|| {
            Failure::new(format!(
                "there is no command `nightdrop {}`; see `nightdrop help`",
                output::plain(&given.path.join(" "))
            ))
        })?;
    }
    output::write(&found.render_long_help().to_string())
}

pub(super) fn completions(given: &Completions, mut line: Command) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(given.shell, &mut line, "nightdrop", &mut script);
    output::write(&String::from_utf8_lossy(&script))
}

pub(super) fn pages(given: &Manual, mut line: Command) -> Outcome {
    line.build();
    let written = write(&line, &given.folder).map_err(|e| Failure::new(format!("{} cannot be written to: {e}", given.folder.display())))?;
    output::line(format_args!(
        "{} written to {}",
        output::count(written, "page", "pages"),
        given.folder.display()
    ))
}

/// Everybody may read a manual, unlike what other commands write.
fn write(command: &Command, folder: &Path) -> std::io::Result<u64> {
    let mut written = 1;
    for inner in command.get_subcommands() {
        written += write(inner, folder)?;
    }
    let page = clap_mangen::Man::new(command.clone()).generate_to(folder)?;
    std::fs::set_permissions(page, std::fs::Permissions::from_mode(0o644))?;
    Ok(written)
}
