//! Static files: which file a request names, and the response to it. Without Python and sockets.
//!
//! Policies without I/O, in the order in which a request meets them:
//!
//! - [`mounts`] finds the directory of a URL path, [`target`] decodes the rest of the path to the
//!   name of a file,
//! - [`request`] collects the header fields that concern a file,
//! - [`coding`] chooses a precompressed variant, [`names`] knows media types and content hashes,
//! - [`conditional`] evaluates the preconditions, and [`range`] the byte ranges,
//! - [`reply`] builds the response from these.
//!
//! [`representation`] is a file or a variant of it, with its validators and the head of its
//! response.
//!
//! I/O is in few places: [`root`] opens files below a directory ([`steps`] does on systems without
//! `openat2`), [`content`] reads them, and [`lookup`] finds the file, its variants and the index of
//! a directory. [`site`] joins all of it for `--static`, and [`sendfile`] for `--sendfile-root`.

mod coding;
mod conditional;
mod content;
#[cfg(any(test, fuzzing))]
mod fuzzed;
mod lookup;
mod mounts;
mod names;
mod range;
mod reply;
mod representation;
mod request;
mod root;
mod sendfile;
mod site;
mod steps;
mod target;
#[cfg(test)]
mod tests;

pub use content::{is_resident, load};
#[cfg(any(test, fuzzing))]
pub use fuzzed::check;
pub use lookup::{Found, OpenFile};
pub use reply::{Part, Reply, failure};
pub use root::{Lookup, OpenError};
pub use sendfile::{NamedFile, SendfileRoots, named_path};
pub use site::{Answer, Prepared, StaticSite, Target};
