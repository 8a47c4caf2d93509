//! What the forwarded fields of a trusted proxy say about a request.

use std::net::IpAddr;

use super::chain;
use super::element::{self, Element, members};
use super::fields::ForwardedFields;
use super::node::{Brackets, Node};
use super::origin::{self, SchemeField};

/// The result: what the proxies say. What they do not say stays as the connection has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forwarded {
    /// The client.
    pub client: Option<Client>,
    /// The scheme of the URL that it has used.
    pub scheme: Option<Scheme>,
    /// The host of that URL.
    pub host: Option<Host>,
    /// The port of that URL, which replaces that of `host`.
    pub port: Option<u16>,
    /// SCRIPT_NAME, decoded: empty, or `/…` without a final slash.
    pub prefix: Option<Vec<u8>>,
}

/// The address of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// The address; never an IPv4 address that is mapped to IPv6.
    pub ip: IpAddr,
    /// The port, if the field has one.
    pub port: Option<u16>,
}

/// The scheme of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    /// The port that a URL of this scheme need not name.
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// The host of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// A name or an address; IPv6 in brackets.
    pub name: String,
    /// The port, if there is one.
    pub port: Option<u16>,
}

impl Host {
    /// Parses `host[:port]`; `None` if it is malformed, or a list.
    pub fn parse(text: &[u8]) -> Option<Host> {
        origin::host(text)
    }
}

/// A field of a trusted proxy that cannot be applied. The response is 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A member of `X-Forwarded-For` is no address.
    #[error("X-Forwarded-For is malformed")]
    For,
    /// `X-Forwarded-Proto`, or an equivalent, is not `http` or `https`, or they disagree.
    #[error("X-Forwarded-Proto is malformed, or its members disagree")]
    Proto,
    /// `X-Forwarded-Host` is not one `host[:port]`.
    #[error("X-Forwarded-Host is malformed or repeated")]
    Host,
    /// `X-Forwarded-Port` is not one port.
    #[error("X-Forwarded-Port is malformed or repeated")]
    Port,
    /// `X-Forwarded-Prefix` is not one path.
    #[error("X-Forwarded-Prefix is malformed or repeated")]
    Prefix,
    /// `Forwarded` is malformed. [RFC 7239]
    #[error("Forwarded is malformed")]
    Forwarded,
}

/// The fields in question of one request, in the order received.
#[derive(Default)]
struct Received<'a> {
    chain: Vec<&'a [u8]>,
    schemes: Vec<(SchemeField, &'a [u8])>,
    hosts: Vec<&'a [u8]>,
    ports: Vec<&'a [u8]>,
    prefixes: Vec<&'a [u8]>,
    forwarded: Vec<&'a [u8]>,
}

/// What the fields of a trusted proxy say. `fields` are all fields of the request, without those
/// whose names have an underscore. `trusts` is true for the addresses of trusted proxies.
pub fn resolve<'a>(
    applied: ForwardedFields,
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    trusts: impl Fn(IpAddr) -> bool,
) -> Result<Forwarded, Error> {
    let received = collect(applied, fields);
    if applied.has_forwarded() {
        return from_elements(&received.forwarded, trusts);
    }
    Ok(Forwarded {
        client: client(&received.chain, trusts)?,
        scheme: origin::agreed_scheme(&received.schemes)?,
        host: one(&received.hosts, origin::host, Error::Host)?,
        port: one(&received.ports, origin::port, Error::Port)?,
        prefix: one(&received.prefixes, origin::prefix, Error::Prefix)?,
    })
}

fn collect<'a>(
    applied: ForwardedFields,
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> Received<'a> {
    let mut received = Received::default();
    for (name, value) in fields {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        // The length excludes nearly all fields before a name is compared.
        match name.len() {
            9 if applied.has_forwarded() && is(b"forwarded") => received.forwarded.push(value),
            15 if applied.has_for() && is(b"x-forwarded-for") => received.chain.push(value),
            15 if applied.has_proto() && is(b"x-forwarded-ssl") => {
                received.schemes.push((SchemeField::Ssl, value));
            }
            16 if applied.has_host() && is(b"x-forwarded-host") => received.hosts.push(value),
            16 if applied.has_port() && is(b"x-forwarded-port") => received.ports.push(value),
            17 if applied.has_proto() && is(b"x-forwarded-proto") => {
                received.schemes.push((SchemeField::Proto, value));
            }
            18 if applied.has_prefix() && is(b"x-forwarded-prefix") => {
                received.prefixes.push(value);
            }
            20 if applied.has_proto() && is(b"x-forwarded-protocol") => {
                received.schemes.push((SchemeField::Protocol, value));
            }
            _ => {}
        }
    }
    received
}

/// The value of a field that may appear once.
fn one<T>(
    values: &[&[u8]],
    parse: impl Fn(&[u8]) -> Option<T>,
    error: Error,
) -> Result<Option<T>, Error> {
    match values {
        [] => Ok(None),
        [value] => parse(value).map(Some).ok_or(error),
        _ => Err(error),
    }
}

fn client(values: &[&[u8]], trusts: impl Fn(IpAddr) -> bool) -> Result<Option<Client>, Error> {
    let members = values.iter().flat_map(|value| members(value));
    let nodes = members.map(|member| Node::parse(member, Brackets::Optional).ok_or(Error::For));
    let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
    Ok(chain::chosen(nodes.iter().copied(), trusts).and_then(|index| address(nodes[index])))
}

/// A node without an address leaves that of the peer in place.
fn address(node: Node) -> Option<Client> {
    match node {
        Node::Address(client) => Some(client),
        Node::Hidden => None,
    }
}

fn from_elements(values: &[&[u8]], trusts: impl Fn(IpAddr) -> bool) -> Result<Forwarded, Error> {
    let mut elements = Vec::new();
    for value in values {
        element::parse(value, &mut elements)?;
    }
    let node = |element: &Element<'_>| match &element.node {
        Some(text) => Node::parse(text, Brackets::Required).ok_or(Error::Forwarded),
        // The proxy does not say.
        None => Ok(Node::Hidden),
    };
    let nodes = elements.iter().map(node).collect::<Result<Vec<_>, _>>()?;
    let Some(index) = chain::chosen(nodes.iter().copied(), trusts) else {
        return Ok(Forwarded::default());
    };
    // The proxy that has added this element is trusted, as all behind it are.
    let Element { proto, host, .. } = &elements[index];
    Ok(Forwarded {
        client: address(nodes[index]),
        scheme: optional(proto.as_deref(), origin::scheme)?,
        host: optional(host.as_deref(), origin::host)?,
        ..Forwarded::default()
    })
}

fn optional<T>(
    value: Option<&[u8]>,
    parse: impl Fn(&[u8]) -> Option<T>,
) -> Result<Option<T>, Error> {
    value.map(|value| parse(value).ok_or(Error::Forwarded)).transpose()
}
