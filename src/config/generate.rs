//! `--generate`: shell completions and the manual page, generated from the table of options.
//!
//! The wheel contains the same texts as files (`packaging/wheel/`), which a test compares with
//! these.

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Arg, ArgAction, Command, ValueHint};
use clap_complete::Shell;

use super::commands::{ctl_command, top_command};

/// The option's name.
pub(super) const OPTION: &str = "generate";

/// A text to generate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Generated {
    Completions(Shell),
    /// The manual page, for man(1).
    Man,
}

/// All of them, by their names as values of the option.
pub(super) const ALL: [(&str, Generated); 4] = [
    ("completions-bash", Generated::Completions(Shell::Bash)),
    ("completions-zsh", Generated::Completions(Shell::Zsh)),
    ("completions-fish", Generated::Completions(Shell::Fish)),
    ("man", Generated::Man),
];

/// The option itself. It is not in the table of options: no other source can set it.
pub(super) fn arg() -> Arg {
    let names = PossibleValuesParser::new(ALL.map(|(name, _)| name));
    let find = |text: String| {
        let found = ALL.iter().find(|(name, _)| *name == text);
        found.expect("clap accepts no other value").1
    };
    Arg::new(OPTION)
        .long(OPTION)
        .value_name("WHAT")
        .value_parser(names.map(find))
        .hide(true)
        .help("Print shell completions or the manual page, and exit")
}

/// Generates the text for this command line.
pub(super) fn generate(what: Generated, command: Command) -> String {
    let command = visible(command);
    let Generated::Completions(shell) = what else { return manual(command) };
    let mut command = command.disable_help_subcommand(true).subcommands(commands());
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "rustwsgi", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// The commands beside the server, which parse their arguments themselves (`python/rustwsgi/`).
fn commands() -> [Command; 2] {
    let formats =
        ["uwsgi", "gunicorn", "waitress", "mod_wsgi", "procfile", "systemd", "dockerfile", "shell"];
    let kinds = ["systemd", "nginx", "haproxy", "docker", "compose", "kubernetes", "procfile"];
    let file = Arg::new("file").value_hint(ValueHint::FilePath);
    let from = Arg::new("from").long("from").value_parser(formats);
    let convert = Command::new("convert").about("Print a rustwsgi.toml for another server's file");
    let value = |name: &'static str| Arg::new(name).long(name);
    let init = Command::new("init")
        .about("Print a file for systemd, a proxy or containers")
        .arg(value("name").help("Name of the service"))
        .arg(value("user").help("User of the service"))
        .arg(value("socket").action(ArgAction::SetTrue).help("Print the socket unit of systemd"))
        .arg(Arg::new("kind").value_parser(kinds))
        .arg(Arg::new("app"));
    [convert.arg(from.help("Format of the file")).arg(file), init]
}

/// Sections of the manual page that clap does not know.
const SECTIONS: &str = r#".SH COMMANDS
\fBrustwsgi convert\fR \fIFILE\fR, or \fBrustwsgi convert \-\-\fR \fICOMMAND\fR: prints a
\fIrustwsgi.toml\fR for the configuration of gunicorn, uWSGI, waitress or mod_wsgi\-express.
\fBrustwsgi init\fR \fIKIND\fR [\fIAPP\fR]: prints a file for the application in the current
directory: systemd, nginx, haproxy, docker, compose, kubernetes or procfile. \fBrustwsgi ctl\fR
shows and controls a server that was started with \fB\-\-control\-socket\fR: status, requests,
stacks, profile, workers, reload, reopen, stop. \fBrustwsgi top\fR shows its requests live. Each has
a \fB\-\-help\fR.
.SH SIGNALS
To the master: TERM stops gracefully, INT and QUIT stop at once; HUP reloads the configuration and
replaces the workers without losing a request; USR1 reopens the log files; USR2 starts a second
master on the same sockets; TTIN and TTOU add and remove a worker; WINCH stops all workers
gracefully.
.SH FILES
\fI./rustwsgi.toml\fR, and \fI[tool.rustwsgi]\fR in \fI./pyproject.toml\fR: options. Without them
and without \fB\-\-config\fR, \fI./gunicorn.conf.py\fR.
.SH ENVIRONMENT
\fBRUSTWSGI_*\fR: options, such as \fBRUSTWSGI_KEEP_ALIVE\fR. \fBPORT\fR: the port of the default
address. \fBWEB_CONCURRENCY\fR: the default number of workers. \fBFORWARDED_ALLOW_IPS\fR: the
default of \fB\-\-forwarded\-allow\-ips\fR. \fBGUNICORN_CMD_ARGS\fR: command line arguments, which
override files and are overridden by \fBRUSTWSGI_*\fR. \fBSCRIPT_NAME\fR: the URL prefix of the
application, such as \fI/shop\fR.
.SH "EXIT STATUS"
0 after a stop by a signal; 1 if an address, a log or the PID file cannot be opened, or the user
does not exist; 2 for an error in the options; 3 if the application cannot be loaded.
"#;

fn manual(command: Command) -> String {
    let page = clap_mangen::Man::new(command);
    let mut text = Vec::new();
    // Writing to a vector cannot fail. The generated synopsis would list all options twice.
    let _ = page.render_title(&mut text);
    let _ = page.render_name_section(&mut text);
    text.extend_from_slice(
        b".SH SYNOPSIS\n\\fBrustwsgi\\fR [\\fIOPTIONS\\fR] [\\fIAPP\\fR]\n.br\n\
          \\fBrustwsgi ctl\\fR [\\fIOPTIONS\\fR] \\fICOMMAND\\fR\n.br\n\
          \\fBrustwsgi top\\fR [\\fIOPTIONS\\fR]\n",
    );
    let _ = page.render_options_section(&mut text);
    let _ = page.render_extra_section(&mut text);
    String::from_utf8_lossy(&text).into_owned() + SECTIONS
}

/// The command line without the hidden options.
fn visible(all: Command) -> Command {
    let mut command = Command::new("rustwsgi").version(env!("CARGO_PKG_VERSION"));
    if let Some(about) = all.get_about() {
        command = command.about(about.clone());
    }
    if let Some(more) = all.get_after_help() {
        command = command.after_help(more.clone());
    }
    command
        .subcommand(ctl_command())
        .subcommand(top_command())
        .args(all.get_arguments().filter(|arg| !arg.is_hide_set()).cloned())
        .disable_version_flag(true)
}
