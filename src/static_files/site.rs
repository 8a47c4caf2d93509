//! The files that `--static` serves: from a URL path to a response.

use std::io;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

use super::lookup::{Found, find};
use super::mounts::{Mounts, strip_prefix};
use super::reply::{Reply, page, select};
use super::representation::Representation;
use super::request::RequestFields;
use super::root::{Lookup, OpenError, Root};
use super::target::{self, Name};
use crate::config::{StaticFallback, StaticMap, StaticSettings};
use crate::http1::Head;

const NOT_FOUND: &str = "404 Not Found";
/// The characters that are percent-encoded in a prefix.
const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The mounts, and the rules for all of them.
#[derive(Debug)]
pub struct StaticSite {
    mounts: Mounts<Arc<Mount>>,
    index: Option<String>,
    /// The value of Cache-Control for a file without a content hash in its name.
    cache_control: String,
}

/// A directory that is served at a URL.
#[derive(Debug)]
struct Mount {
    root: Root,
    /// What happens to a path that is no file.
    fallback: StaticFallback,
}

/// What a path below a mount names.
#[derive(Debug, Clone)]
pub struct Target {
    mount: Arc<Mount>,
    /// `None` if the path can name no file.
    name: Option<Name>,
}

/// What to do with a request for a path below a mount.
#[derive(Debug)]
pub enum Answer<'a> {
    /// Send this.
    Reply(Reply<'a>),
    /// Call the application.
    Application,
}

/// A file that was found, with what the responses to all requests for it share.
#[derive(Debug)]
pub struct Prepared {
    found: PreparedFound,
}

#[derive(Debug)]
enum PreparedFound {
    /// The file, then its variants.
    File(Box<[Option<Representation>; 4]>),
    Directory,
    Missing(StaticFallback),
}

impl StaticSite {
    /// Opens the directories of `maps`. `None` if there are none.
    pub fn open(
        maps: &[StaticMap],
        settings: &StaticSettings,
    ) -> Result<Option<StaticSite>, OpenError> {
        let open = |map: &StaticMap| {
            let root = Root::open(&map.directory)?;
            let fallback = if map.has_routes { StaticFallback::App } else { settings.fallback };
            Ok((map.url.clone().into_bytes(), Arc::new(Mount { root, fallback })))
        };
        let entries = maps.iter().map(open).collect::<Result<Vec<_>, OpenError>>()?;
        Ok((!entries.is_empty()).then(|| StaticSite {
            mounts: Mounts::new(entries),
            index: settings.index.clone(),
            cache_control: format!("max-age={}", settings.max_age),
        }))
    }

    /// What a URL path names; `None` if it is not below a mount. A proxy may have left `prefix`,
    /// decoded, on the path: then the path without it comes first, as that is PATH_INFO.
    pub fn target(&self, path: &[u8], prefix: &[u8]) -> Option<Target> {
        let below = (!prefix.is_empty())
            .then(|| strip_prefix(path, prefix).filter(|rest| rest.starts_with(b"/")))
            .flatten();
        let found = below.and_then(|path| self.mounts.find(path));
        let (mount, rest) = found.or_else(|| self.mounts.find(path))?;
        Some(Target { mount: mount.clone(), name: target::parse(rest) })
    }

    /// True if a URL path is below a mount.
    pub fn covers(&self, path: &[u8]) -> bool {
        self.mounts.find(path).is_some()
    }

    /// Looks up a target.
    pub fn find(&self, target: &Target, lookup: Lookup) -> io::Result<Found> {
        match &target.name {
            Some(name) => find(&target.mount.root, name, self.index.as_deref(), lookup),
            None => Ok(Found::Missing),
        }
    }

    /// Prepares the responses to requests for `target`, for which this was found.
    pub fn prepare(&self, target: &Target, found: Found) -> Prepared {
        let found = match found {
            Found::File(file) => {
                PreparedFound::File(Box::new(Representation::all(*file, &self.cache_control)))
            }
            Found::Directory => PreparedFound::Directory,
            Found::Missing => PreparedFound::Missing(target.mount.fallback),
        };
        Prepared { found }
    }

    /// The response to a request for `prepared`. A proxy may have removed `prefix`, decoded, from
    /// its URL. With [`Lookup::Cached`] it fails with `WouldBlock` rather than wait for a disk.
    pub fn answer<'a>(
        &self,
        head: &Head,
        prefix: &[u8],
        prepared: &'a Prepared,
        lookup: Lookup,
    ) -> io::Result<Answer<'a>> {
        let is_head = match head.method() {
            b"GET" => false,
            b"HEAD" => true,
            _ => {
                return Ok(match prepared.found {
                    PreparedFound::Missing(StaticFallback::App) => Answer::Application,
                    _ => not_allowed(),
                });
            }
        };
        match &prepared.found {
            PreparedFound::File(representations) => {
                let reply = reply(representations, head, is_head, lookup);
                reply.map(Answer::Reply)
            }
            PreparedFound::Directory => Ok(Answer::Reply(redirect(head, prefix))),
            PreparedFound::Missing(fallback) => Ok(match fallback {
                StaticFallback::App => Answer::Application,
                StaticFallback::NotFound => Answer::Reply(page(NOT_FOUND, &[])),
            }),
        }
    }
}

fn not_allowed() -> Answer<'static> {
    Answer::Reply(page("405 Method Not Allowed", &[("Allow", "GET, HEAD")]))
}

fn reply<'a>(
    [file, variants @ ..]: &'a [Option<Representation>; 4],
    head: &Head,
    is_head: bool,
    lookup: Lookup,
) -> io::Result<Reply<'a>> {
    let fields = RequestFields::new(head.fields());
    let chosen = fields.accepted.choose(variants.each_ref().map(Option::is_some));
    let chosen = chosen.and_then(|coding| variants[coding as usize].as_ref()).or(file.as_ref());
    let Some(chosen) = chosen else { return Ok(page(NOT_FOUND, &[])) };
    match select(chosen.whole(), &fields, is_head) {
        Some(reply) => Ok(reply),
        None => chosen.reply(is_head, lookup),
    }
}

/// Adds the slash that the path lacks, and keeps the query. The path begins with one slash, so that
/// the target is not another host: an empty segment names no directory.
fn redirect(head: &Head, prefix: &[u8]) -> Reply<'static> {
    let path: Vec<u8> = percent_decode(head.path()).collect();
    let has_prefix = path.strip_prefix(prefix).is_some_and(|rest| matches!(rest, [] | [b'/', ..]));
    let mut location = Vec::new();
    if !has_prefix {
        location.extend(percent_encode(prefix, ENCODED).flat_map(str::bytes));
    }
    location.extend_from_slice(head.path());
    location.push(b'/');
    if !head.query().is_empty() {
        location.push(b'?');
        location.extend_from_slice(head.query());
    }
    // A request target is visible ASCII.
    page("308 Permanent Redirect", &[("Location", &String::from_utf8_lossy(&location))])
}

/// For the key of a cache.
impl PartialEq for Target {
    fn eq(&self, other: &Target) -> bool {
        Arc::ptr_eq(&self.mount, &other.mount) && self.name == other.name
    }
}

impl Eq for Target {}

impl std::hash::Hash for Target {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.mount).hash(state);
        self.name.hash(state);
    }
}
