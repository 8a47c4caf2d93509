//! Listening sockets: binds addresses, with errors that name the remedy, and accepts connections.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use log::debug;
use socket2::{Domain, SockAddr, Socket, Type};

use super::address::{Local, Peer};
use super::bind_options::BindOptions;
use super::service::Service;
use super::socket_file::{Place, has_listener};
use super::{forked, nonblocking, syn_filter};
use crate::config::{Bind, Purpose};
use crate::sys::descriptors;

/// A bound and listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: mio::net::TcpListener,
    kind: Kind,
    /// The inherited descriptor that it was duplicated from, which may name another file by now.
    passed: Option<RawFd>,
    /// The option that names its address.
    pub(super) purpose: Purpose,
    /// Whether TCP clients use TLS.
    is_https: bool,
    pub(super) service: Service,
}

#[derive(Debug)]
enum Kind {
    Tcp(SocketAddr),
    /// The file, which this process may have to remove at the end, and the path to show.
    Unix(OwnedFile, String),
}

/// The file of a unix socket.
#[derive(Debug, Default)]
struct OwnedFile {
    /// Its path, device and inode, once this process has created it or taken it over.
    file: OnceLock<(PathBuf, u64, u64)>,
    /// Another process removes the file at its end.
    left: AtomicBool,
}

impl OwnedFile {
    /// The file, if this process removes it at the end.
    fn get(&self) -> Option<&(PathBuf, u64, u64)> {
        self.file.get().filter(|_| !self.left.load(Ordering::Relaxed))
    }
}

/// Closes these listeners in processes that the application forks from now on.
pub fn close_in_children<'a>(listeners: impl IntoIterator<Item = &'a Listener>) {
    listeners.into_iter().map(Listener::descriptors).for_each(forked::close_in_children);
}

/// Leaves these listeners open in processes that are forked from now on.
pub fn keep_in_children<'a>(listeners: impl IntoIterator<Item = &'a Listener>) {
    listeners.into_iter().map(Listener::descriptors).for_each(forked::keep_in_children);
}

/// Binds one address. The error names the address and, where there is one, the remedy.
pub fn bind(bind: &Bind, options: BindOptions) -> Result<Vec<Listener>> {
    let backlog = i32::try_from(options.backlog).unwrap_or(i32::MAX);
    match bind {
        Bind::Tcp(host, port) => bind_tcp(host, *port, backlog, options.reuse_port),
        Bind::Unix(path) => Ok(vec![bind_unix(path, backlog, options.mode)?]),
        Bind::Fd(fd) => Ok(vec![inherit(*fd, backlog)?]),
    }
}

fn bind_tcp(host: &str, port: u16, backlog: i32, reuse_port: bool) -> Result<Vec<Listener>> {
    let addresses: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .with_context(|| {
            format!(
                "cannot resolve the host name {host:?} of --bind; correct it, or give an IP address"
            )
        })?
        .collect();
    // A name such as localhost may have an IPv4 and an IPv6 address. Only the first is bound, as in
    // gunicorn: two sockets for one name would surprise, and port 0 would be two ports.
    let Some(&address) = addresses.first() else { bail!("the host name {host:?} has no address") };
    let socket = open_tcp(address, backlog, reuse_port)
        .map_err(|error| explain(error, &address.to_string()))?;
    Ok(vec![Listener::from_socket(socket)?])
}

fn open_tcp(address: SocketAddr, backlog: i32, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket)
}

fn bind_unix(path: &Path, backlog: i32, mode: u32) -> Result<Listener> {
    let shown = format!("unix:{}", path.display());
    let place = find_place(path, &shown)?;
    remove_stale(path, &place).with_context(|| format!("cannot listen on {shown}"))?;
    let address = SockAddr::unix(path).with_context(|| format!("cannot listen on {shown}"))?;
    let open = || -> io::Result<(Socket, (u64, u64))> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&address)?;
        // Set before `listen`, so that no client can connect earlier.
        let file = place.set_mode(mode)?;
        socket.listen(backlog).inspect_err(|_| {
            let _ = place.remove(file);
        })?;
        Ok((socket, file))
    };
    let (socket, (device, inode)) = open().map_err(|error| explain(error, &shown))?;
    let mut listener = Listener::from_socket(socket)?;
    let owned =
        OwnedFile { file: (path.to_path_buf(), device, inode).into(), ..OwnedFile::default() };
    listener.kind = Kind::Unix(owned, path.display().to_string());
    Ok(listener)
}

/// Opens the directory of a socket's file.
fn find_place(path: &Path, shown: &str) -> Result<Place> {
    Place::of(path).map_err(|error| match path.parent() {
        Some(directory) if error.kind() == io::ErrorKind::NotFound => {
            let directory = directory.display();
            anyhow::Error::new(error).context(format!(
                "cannot listen on {shown}: the directory {directory} does not exist; create it"
            ))
        }
        _ => explain(error, shown),
    })
}

/// Removes a socket file without a listener, which a killed server leaves behind. One with a
/// listener belongs to another server.
fn remove_stale(path: &Path, place: &Place) -> Result<()> {
    let Some(found) = place.find() else { return Ok(()) };
    if !found.is_socket() {
        bail!("{} exists and is not a socket: remove it or choose another path", path.display());
    }
    if has_listener(path).with_context(|| format!("cannot probe {}", path.display()))? {
        bail!("address in use: another server is listening on {}", path.display());
    }
    place
        .remove(found.identity())
        .with_context(|| format!("cannot remove the stale {}", path.display()))
}

/// Takes a socket that a parent process, such as systemd, has opened.
fn inherit(fd: RawFd, backlog: i32) -> Result<Listener> {
    let shown = format!("fd://{fd}");
    // A duplicate: the descriptor that the parent has passed stays valid, even if it is not a
    // socket.
    let socket = descriptors::duplicate(fd)
        .with_context(|| format!("{shown}: no such descriptor was passed to this process"))?;
    let socket = Socket::from(socket);
    match socket.r#type() {
        Ok(Type::STREAM) => {}
        _ => bail!("{shown} is not a stream socket: pass a descriptor that can be listened on"),
    }
    socket.listen(backlog).with_context(|| {
        format!("cannot listen on {shown}: it is a socket, but not one that can be listened on")
    })?;
    let mut listener = Listener::from_socket(socket)?;
    // Programs that the application executes do not get it; a new master gets duplicates.
    descriptors::close_on_exec(fd).with_context(|| format!("cannot keep {shown}"))?;
    listener.passed = Some(fd);
    Ok(listener)
}

fn explain(error: io::Error, address: &str) -> anyhow::Error {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => {
            ": another program is listening there; stop it or choose another --bind"
        }
        io::ErrorKind::PermissionDenied if address.starts_with("unix:") => {
            ": no permission to create files in that directory; choose another --bind"
        }
        io::ErrorKind::PermissionDenied => {
            ": ports below 1024 need privileges; choose another --bind"
        }
        io::ErrorKind::AddrNotAvailable => ": this machine has no such address",
        _ => "",
    };
    anyhow::Error::new(error).context(format!("cannot listen on {address}{hint}"))
}

impl Listener {
    fn from_socket(socket: Socket) -> Result<Listener> {
        nonblocking::prepare(&socket)?;
        let address = socket.local_addr()?;
        let kind = match address.as_socket() {
            Some(address) => {
                // Responses are written whole, so Nagle's algorithm could only delay them. On Linux
                // accepted sockets inherit the option, which saves a call for each.
                socket.set_tcp_nodelay(true)?;
                Kind::Tcp(address)
            }
            None => Kind::Unix(
                OwnedFile::default(),
                address.as_pathname().map_or_else(|| "unnamed".into(), |p| p.display().to_string()),
            ),
        };
        // accept(2) is the same call for every address family; `accept` below handles the peer's
        // address, the only thing that differs.
        let socket = mio::net::TcpListener::from_std(OwnedFd::from(socket).into());
        let (purpose, service) = (Purpose::Application, Service::Http);
        Ok(Listener { socket, kind, passed: None, purpose, is_https: false, service })
    }

    /// The server's address for the environ.
    pub fn local(&self, index: usize) -> Local {
        let (name, port) = match &self.kind {
            Kind::Tcp(address) => {
                // An IPv6 address in brackets, as in a URL. [RFC 3875 section 4.1.14]
                let name = match address.ip() {
                    IpAddr::V6(ip) => format!("[{ip}]"),
                    IpAddr::V4(ip) => ip.to_string(),
                };
                (name, address.port().to_string())
            }
            Kind::Unix(..) => ("localhost".to_owned(), "80".to_owned()),
        };
        let (is_https, redirect_port) = self.service.facts();
        Local { index, name, port, is_https, redirect_port }
    }

    /// The TCP address, if it is one.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match self.kind {
            Kind::Tcp(address) => Some(address),
            Kind::Unix(..) => None,
        }
    }

    /// Sets the option that names its address, and whether TCP clients use TLS.
    pub fn set_purpose(&mut self, purpose: Purpose, is_https: bool) {
        (self.purpose, self.is_https) = (purpose, is_https);
    }

    /// The address as the log shows it: `http://127.0.0.1:8000`, `unix:/run/app.sock`.
    pub fn url(&self) -> String {
        match &self.kind {
            Kind::Tcp(address) if self.is_https => format!("https://{address}"),
            Kind::Tcp(address) => format!("http://{address}"),
            Kind::Unix(_, path) => format!("unix:{path}"),
        }
    }

    /// Changes the length of the accept queue. Does nothing if the system refuses.
    pub fn set_backlog(&self, backlog: u32) {
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        if let Err(error) = rustix::net::listen(self.fd(), backlog) {
            debug!("{}: {error}", self.url());
        }
    }

    /// The descriptor, for passing it to another process.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn descriptors(&self) -> forked::Descriptors {
        forked::Descriptors { own: self.fd().as_raw_fd(), passed: self.passed }
    }

    /// Leaves the file of a unix socket to another process, which removes it at its end.
    pub fn disown(&self) {
        if let Kind::Unix(owned, _) = &self.kind {
            owned.left.store(true, Ordering::Relaxed);
        }
    }

    /// Takes the file of a unix socket back that was left to another process, which has exited.
    pub fn reclaim(&self) {
        if let Kind::Unix(owned, _) = &self.kind {
            owned.left.store(false, Ordering::Relaxed);
        }
    }

    /// Removes the file of a unix socket, unless another process owns it.
    pub fn remove_file(&self) {
        if let Kind::Unix(owned, _) = &self.kind
            && let Some((path, device, inode)) = owned.get()
        {
            let _ = Place::of(path).and_then(|place| place.remove((*device, *inode)));
        }
    }

    /// Takes over the file of a unix socket, which this process removes at its end: the server that
    /// passed the socket has exited.
    pub fn own(&self) {
        if let Kind::Unix(owned, shown) = &self.kind
            && let path = PathBuf::from(shown)
            && let Some(found) = Place::of(&path).ok().and_then(|place| place.find())
        {
            let (device, inode) = found.identity();
            // Fails if this process has created the file, and so owns it already.
            let _ = owned.file.set((path, device, inode));
        }
    }

    /// Gives the file of a unix socket to another user, if this process has created it and it was
    /// not replaced since.
    pub fn give(&self, uid: u32, gid: u32) -> io::Result<()> {
        let Kind::Unix(owned, _) = &self.kind else { return Ok(()) };
        match owned.get() {
            Some((path, device, inode)) => Place::of(path)?.give((*device, *inode), uid, gid),
            None => Ok(()),
        }
    }

    /// Lets no further client enter the accept queue, in any process, until the socket is closed. A
    /// connection that arrives while the last process closes the socket would be reset. A client
    /// whose SYN is dropped tries again after a second, and is refused then.
    pub fn refuse_new_connections(&self) -> io::Result<()> {
        match self.kind {
            Kind::Tcp(_) => syn_filter::drop_syns(&socket2::SockRef::from(&self.socket)),
            Kind::Unix(..) => Ok(()),
        }
    }

    /// Accepts one connection as a non-blocking socket, for the master.
    ///
    /// # Errors
    /// As accept(2); `WouldBlock` if no connection is waiting.
    pub fn accept_socket(&self) -> io::Result<Socket> {
        self.accept().map(|(socket, _)| socket)
    }

    /// Accepts one connection as a non-blocking socket.
    pub(super) fn accept(&self) -> io::Result<(Socket, Peer)> {
        let listener = socket2::SockRef::from(&self.socket);
        let (socket, address) = nonblocking::accept(&listener, || self.url())?;
        let peer = Peer(address);
        #[cfg(not(target_os = "linux"))]
        if peer.0.is_some() {
            socket.set_tcp_nodelay(true)?;
        }
        Ok((socket, peer))
    }

    /// True if a connection is waiting, or accepting would return an error.
    pub(super) fn has_waiting(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut fds, Some(&at_once)), Ok(1..))
    }

    pub(super) fn source(&mut self) -> &mut mio::net::TcpListener {
        &mut self.socket
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        forked::keep_in_children(self.descriptors());
        self.remove_file();
    }
}
