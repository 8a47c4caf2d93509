//! Syslog, statsd, and Python's logging.

use super::*;
use crate::config::{LogFormat, LogSettings};
use crate::observe::{AccessOutputs, LogTarget, StatsdForm, SyslogForm};

#[test]
fn collectors_are_off_by_default() {
    let settings = ok(&["--log-syslog-prefix", "shop", "--statsd-prefix", "p"]);
    assert_eq!(settings.collectors(), Default::default());
    assert_eq!((settings.access_log.is_none(), settings.has_access_lines()), (true, false));
    let LogSettings { format, python, .. } = settings.logs;
    assert_eq!((format, python), (LogFormat::Text, false));
}

#[test]
fn program_in_syslog_is_named_by_prefix_process_or_application() {
    let name_of = |args: &[&str]| {
        let settings = ok(&[&["--log-syslog"], args].concat());
        let (address, form) = settings.collectors().syslog.unwrap();
        let names = ["given", "process", &settings.app.unwrap().to_string()];
        let known = names.map(|name| form == SyslogForm::new(name, 1, &address));
        known.iter().position(|known| *known).unwrap()
    };
    assert_eq!(name_of(&["--log-syslog-prefix", "given", "--name", "process"]), 0);
    assert_eq!(name_of(&["--name", "process"]), 1);
    assert_eq!(name_of(&[]), 2);
}

#[test]
fn requests_are_logged_elsewhere_without_a_file() {
    for (args, outputs, has_lines) in [
        (["--log-syslog"].as_slice(), [true, false, false], true),
        (&["--log-syslog", "--disable-redirect-access-to-syslog"], [false; 3], false),
        (&["--statsd-host", "h:1"], [false, true, false], false),
        (&["--log-python"], [false, false, true], true),
        (&["--log-config", "f"], [false, false, true], true),
        (&["--log-config-json", "f"], [false, false, true], true),
    ] {
        let settings = ok(args);
        let [syslog, statsd, python] = outputs;
        assert_eq!(settings.access_outputs(), AccessOutputs { syslog, statsd, python });
        assert_eq!(settings.has_access_lines(), has_lines, "{args:?}");
        let expected = outputs.contains(&true).then_some(LogTarget::Nowhere);
        assert_eq!(settings.access_log.map(|log| log.target), expected, "{args:?}");
    }
    let both = ok(&["--log-syslog", "--access-logfile", "-"]);
    assert_eq!(both.access_log.unwrap().target, LogTarget::Stdout);
}

#[test]
fn statsd_has_prefix_and_tags() {
    let args = ["--statsd-host", "[::1]", "--statsd-prefix", "p", "--dogstatsd-tags", "a:b,c"];
    let (address, form) = ok(&args).collectors().statsd.unwrap();
    assert_eq!(address.to_string(), "udp://[::1]:8125");
    assert_eq!(form, StatsdForm::new("p.", "a:b,c"));
}
