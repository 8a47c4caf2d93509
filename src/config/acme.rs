//! The settings of ACME, the protocol that certificates are ordered with. [RFC 8555]

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The environment: the value of a variable.
type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The certificate to order, from whom, and where to keep it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AcmeSettings {
    /// The names of the certificate, in lower case and without duplicates; without one there is no
    /// ACME.
    pub domains: Vec<String>,
    /// The address that the authority may write to.
    pub email: Option<String>,
    /// The URL of the authority's directory.
    pub directory: String,
    /// The directory for the account, the certificate and the state. `None` if the environment
    /// names no directory for the default either.
    pub cache: Option<PathBuf>,
}

impl AcmeSettings {
    /// Whether there is a certificate to order.
    pub fn is_enabled(&self) -> bool {
        !self.domains.is_empty()
    }

    /// The cache directory, if there is a certificate to order.
    pub fn used_cache(&self) -> Option<&Path> {
        self.cache.as_deref().filter(|_| self.is_enabled())
    }

    /// The file with the certificate chain and its key, in the PEM format. Written as a whole, so
    /// that they always belong together.
    pub fn certificate_file(&self) -> Option<PathBuf> {
        self.cache_file("pem")
    }

    /// The file with what the next start needs to know of the last order.
    pub fn state_file(&self) -> Option<PathBuf> {
        self.cache_file("json")
    }

    fn cache_file(&self, extension: &str) -> Option<PathBuf> {
        Some(self.cache.as_ref()?.join(format!("{}.{extension}", self.domains.first()?)))
    }

    /// Removes duplicates, and chooses the cache directory.
    ///
    /// # Errors
    /// A sentence that says what to write instead.
    pub(super) fn resolve(&mut self, variables: Variables<'_>) -> Result<(), String> {
        let mut unique: Vec<String> = Vec::new();
        for domain in self.domains.drain(..) {
            if !unique.contains(&domain) {
                unique.push(domain);
            }
        }
        self.domains = unique;
        if !self.is_enabled() {
            return match (&self.email, &self.cache) {
                (None, None) => Ok(()),
                (Some(_), _) => Err(needs_domain("--acme-email")),
                (None, Some(_)) => Err(needs_domain("--acme-cache")),
            };
        }
        if self.cache.is_none() {
            self.cache = default_cache(variables);
        }
        Ok(())
    }
}

fn needs_domain(option: &str) -> String {
    format!("{option}: there is no certificate to order; name its domain with --acme-domain")
}

/// The directory that systemd provides for the service, else that of the user's data.
fn default_cache(variables: Variables<'_>) -> Option<PathBuf> {
    let directory = |name| {
        let value = variables(name).filter(|value| !value.is_empty())?;
        // systemd separates several directories by colons.
        let first = value.to_str().and_then(|value| value.split(':').next()).map(PathBuf::from);
        first.or(Some(PathBuf::from(&value))).filter(|path| path.is_absolute())
    };
    let of_service = directory("STATE_DIRECTORY").map(|path| path.join("acme"));
    let of_user = || {
        let data = directory("XDG_DATA_HOME");
        let data = data.or_else(|| Some(directory("HOME")?.join(".local").join("share")));
        Some(data?.join("rustwsgi").join("acme"))
    };
    of_service.or_else(of_user)
}

/// A name that a certificate can be ordered for with the challenges of this server.
pub(super) fn domain(text: &str) -> Result<String, String> {
    if text.starts_with('*') {
        return Err("a wildcard needs DNS-01, which is not supported; name each host".to_owned());
    }
    if text.parse::<IpAddr>().is_ok() {
        return Err("not a domain name; certificates for addresses are not supported".to_owned());
    }
    if !text.is_ascii() {
        return Err("not ASCII; write the name in Punycode, as xn--...".to_owned());
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if text.len() > 253 || !text.split('.').all(is_label) {
        return Err("not a domain name, such as www.example.org".to_owned());
    }
    Ok(text.to_ascii_lowercase())
}

/// The URL of a directory. The protocol allows HTTPS only. [RFC 8555 section 6.1]
pub(super) fn directory(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").and_then(|rest| rest.split(['/', '?']).next());
    let is_printable = text.bytes().all(|byte| byte.is_ascii_graphic());
    match host {
        Some(host) if !host.is_empty() && is_printable => Ok(text.to_owned()),
        _ => Err("not the URL of an ACME directory, which begins with https://".to_owned()),
    }
}

/// An address without the scheme `mailto`.
pub(super) fn email(text: &str) -> Result<String, String> {
    let is_valid = text.split_once('@').is_some_and(|(user, host)| {
        !user.is_empty() && domain(host).is_ok() && !user.contains(['?', ',', ':'])
    });
    match is_valid && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err("not one address, such as admin@example.org".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    #[test]
    fn names_that_cannot_be_ordered_are_refused() {
        for (text, expected) in [
            ("Example.ORG", Ok("example.org")),
            ("localhost", Ok("localhost")),
            ("xn--bcher-kva.example", Ok("xn--bcher-kva.example")),
            ("*.example.org", Err("a wildcard")),
            ("192.0.2.1", Err("not a domain name; certificates")),
            ("bücher.example", Err("not ASCII")),
            ("example.org.", Err("not a domain name, such")),
            ("../example", Err("not a domain name, such")),
            ("-a.example", Err("not a domain name, such")),
            ("a_b.example", Err("not a domain name, such")),
            ("", Err("not a domain name, such")),
        ] {
            match (domain(text), expected) {
                (Ok(name), Ok(expected)) => assert_eq!(name, expected),
                (Err(error), Err(begin)) => assert!(error.starts_with(begin), "{text}: {error}"),
                (result, _) => panic!("{text}: {result:?}"),
            }
        }
    }

    #[test]
    fn directory_is_an_https_url_and_email_one_address() {
        assert!(directory("https://127.0.0.1:14000/dir").is_ok());
        for text in ["http://a/dir", "https:///dir", "a", "https://a/ b"] {
            assert!(directory(text).is_err(), "{text}");
        }
        assert!(email("admin@example.org").is_ok());
        for text in ["admin", "@example.org", "mailto:a@example.org", "a@b,c@d", "a b@c"] {
            assert!(email(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cache_is_in_the_directory_of_the_service_else_of_the_user() {
        let service = ("STATE_DIRECTORY", "/var/lib/a:/var/lib/b");
        let (data, home) = (("XDG_DATA_HOME", "/data"), ("HOME", "/home/ada"));
        for (variables, expected) in [
            (vec![service, data, home], Some("/var/lib/a/acme")),
            (vec![data, home], Some("/data/rustwsgi/acme")),
            (vec![home], Some("/home/ada/.local/share/rustwsgi/acme")),
            (vec![("HOME", "relative")], None),
            (vec![], None),
        ] {
            let find = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| OsString::from(value))
            };
            let names = ["a.example", "b.example", "a.example"].map(str::to_owned);
            let mut settings = AcmeSettings { domains: names.into(), ..AcmeSettings::default() };
            settings.resolve(&find).unwrap();
            assert_eq!(settings.domains, ["a.example", "b.example"]);
            assert_eq!(settings.cache, expected.map(PathBuf::from));
        }
    }

    #[test]
    fn options_without_a_domain_are_refused() {
        let mut settings = AcmeSettings { email: Some("a@b".into()), ..AcmeSettings::default() };
        assert!(settings.resolve(&|_| None).unwrap_err().starts_with("--acme-email: "));
    }
}
