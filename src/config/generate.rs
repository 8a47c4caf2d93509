//! `--generate`: shell completions and the manual page, made from the definition of the options, so that
//! neither can offer what the parser does not take.
//!
//! The wheel carries the same texts as files (`packaging/`), which a test compares with these.

use clap::{Arg, Command, ValueEnum};
use clap_complete::Shell;

use super::flags;

/// The option's name.
pub(super) const OPTION: &str = "generate";

/// What can be generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum What {
    /// For bash.
    CompletionsBash,
    /// For zsh.
    CompletionsZsh,
    /// For fish.
    CompletionsFish,
    /// The manual page, for man(1).
    Man,
}

/// The option itself. It is no setting: no file and no variable may have it.
pub(super) fn arg() -> Arg {
    Arg::new(OPTION)
        .long(OPTION)
        .value_name("WHAT")
        .value_parser(clap::value_parser!(What))
        .hide(true)
        .help("Print shell completions or the manual page, and exit")
}

/// The text.
pub(super) fn generate(what: What) -> String {
    let shell = match what {
        What::CompletionsBash => Shell::Bash,
        What::CompletionsZsh => Shell::Zsh,
        What::CompletionsFish => Shell::Fish,
        What::Man => return manual(),
    };
    let mut text = Vec::new();
    let mut command = visible();
    clap_complete::generate(shell, &mut command, "rustwsgi", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// What the generators do not know, as it is the same for every program of theirs.
const SECTIONS: &str = r#".SH SIGNALS
To the master: TERM stops gracefully, INT and QUIT at once; HUP reads the configuration again and
replaces the workers without losing a request; USR1 opens the logs anew; USR2 starts a second master on
the same sockets; TTIN and TTOU add and remove a worker; WINCH retires all workers.
.SH FILES
\fI./rustwsgi.toml\fR, and \fI[tool.rustwsgi]\fR in \fI./pyproject.toml\fR: options. Without them, and without
\fB\-\-config\fR, \fI./gunicorn.conf.py\fR.
.SH ENVIRONMENT
\fBRUSTWSGI_*\fR: options, such as \fBRUSTWSGI_KEEP_ALIVE\fR. \fBPORT\fR: the port of the default address.
\fBWEB_CONCURRENCY\fR: the default number of workers. \fBFORWARDED_ALLOW_IPS\fR: the default of
\fB\-\-forwarded\-allow\-ips\fR. \fBGUNICORN_CMD_ARGS\fR: a piece of command line, which counts more than files
and less than \fBRUSTWSGI_*\fR. \fBSCRIPT_NAME\fR: the path below which the application is, such as
\fI/shop\fR.
.SH "EXIT STATUS"
0 after a stop by a signal; 1 if an address, a log or the pid file cannot be opened, or there is no such user;
2 for a mistake in the options; 3 if the application cannot be loaded.
"#;

fn manual() -> String {
    let page = clap_mangen::Man::new(visible());
    let mut text = Vec::new();
    // Writing to a vector cannot fail. Its own synopsis lists all options, before it lists them again.
    let _ = page.render_title(&mut text);
    let _ = page.render_name_section(&mut text);
    text.extend_from_slice(b".SH SYNOPSIS\n\\fBrustwsgi\\fR [\\fIOPTIONS\\fR] [\\fIAPP\\fR]\n");
    let _ = page.render_options_section(&mut text);
    let _ = page.render_extra_section(&mut text);
    String::from_utf8_lossy(&text).into_owned() + SECTIONS
}

/// The command line without what is there for other servers' users only.
fn visible() -> Command {
    let all = flags::command_line();
    let mut command = Command::new("rustwsgi").version(env!("CARGO_PKG_VERSION"));
    if let Some(about) = all.get_about() {
        command = command.about(about.clone());
    }
    if let Some(more) = all.get_after_help() {
        command = command.after_help(more.clone());
    }
    command
        .args(all.get_arguments().filter(|arg| !arg.is_hide_set()).cloned())
        .disable_version_flag(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// `make docs` sets UPDATE_DOCS, which writes the files instead.
    #[test]
    fn what_the_wheel_carries_is_what_is_generated() {
        let share = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/data/share");
        for (what, file) in [
            (What::CompletionsBash, "bash-completion/completions/rustwsgi"),
            (What::CompletionsZsh, "zsh/site-functions/_rustwsgi"),
            (What::CompletionsFish, "fish/vendor_completions.d/rustwsgi.fish"),
            (What::Man, "man/man1/rustwsgi.1"),
        ] {
            let path = share.join(file);
            let text = format!("{}\n", generate(what).trim_end_matches('\n'));
            if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, &text).unwrap();
            }
            let carried = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(carried == text, "packaging/data/share/{file} is out of date: run `make docs`");
        }
    }

    #[test]
    fn nothing_hidden_is_offered() {
        for what in What::value_variants() {
            let text = generate(*what);
            assert!(text.contains("keep"), "{what:?}");
            assert!(!text.contains("certfile") && !text.contains("uds"), "{what:?}");
        }
    }
}
