//! Options of flask, uvicorn, hypercorn and waitress that have no equal option here, and what to
//! write instead. Many others are accepted, as aliases in the table of options.

/// The options, with underscores.
const ADVICE: &[(&[&str], &str)] = &[
    (&["call"], "name the factory: rustwsgi MODULE:FACTORY()"),
    (&["unix_socket"], "write --bind unix:PATH"),
    (&["url_prefix"], "write --env SCRIPT_NAME=/PATH"),
    (
        &["proxy_headers", "no_proxy_headers", "trusted_proxy", "url_scheme"],
        "write --forwarded-allow-ips IP, the address of the proxy",
    ),
    (
        &["reload_dir", "reload_include", "extra_files"],
        "write --reload-extra-file FILE; the files of imported modules are watched anyway",
    ),
    (&["no_reload", "no_access_log", "no_debugger"], "remove it: that is the default"),
    (&["loop", "ws", "lifespan"], "only WSGI applications are supported"),
    (&["cert", "key"], "write --certfile FILE --keyfile FILE"),
    (&["limit_concurrency", "connection_limit"], "write --worker-connections N"),
    (&["env_file"], "write --env KEY=VALUE, or set the variables before the start"),
];

/// What to use instead of this option.
pub(in crate::config) fn counterpart(name: &str) -> Option<String> {
    let found = ADVICE.iter().find(|(names, _)| names.contains(&name));
    found.map(|(_, advice)| (*advice).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::compat::{gunicorn, uwsgi};
    use crate::config::options;

    /// The parser and the other tables take precedence: an option that they know is not listed.
    #[test]
    fn option_of_this_table_is_in_no_other() {
        for name in ADVICE.iter().flat_map(|(names, _)| *names) {
            assert!(options::find(name).is_none(), "{name}");
            assert!(gunicorn::counterpart(name).is_none(), "{name}");
            assert!(uwsgi::counterpart(name).is_none(), "{name}");
        }
    }

    #[test]
    fn option_named_in_advice_exists() {
        for (_, advice) in ADVICE {
            let words = advice.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            for option in words.filter_map(|word| word.strip_prefix("--")) {
                assert!(options::find(option).is_some(), "--{option}");
            }
        }
    }
}
