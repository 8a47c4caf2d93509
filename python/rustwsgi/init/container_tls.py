"""What TLS adds to a container: files that are mounted, the cache of ACME, and ports.

The server in the container reads the options of the image, so each file has the path there that
the options name. Certificates and keys are renewed while the server runs, which a mount of a
single file does not show: a directory is mounted if it has nothing else that a container needs.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass

from rustwsgi.init.addresses import INHERITED, UNIX, WILDCARDS
from rustwsgi.init.project import InitError, Project
from rustwsgi.init.template import yaml_string

#: The ports of HTTPS and redirects. They are those that clients use, as the redirects name the
#: port of HTTPS.
HTTPS = 443
REDIRECT = 80
#: Options with files that a container needs.
FILES = ("certfile", "keyfile", "ca_certs", "ca_crl")
#: Loopback is that of the container, where health checks may use it. So is 127.0.0.0/8.
LOOPBACK = ("localhost", "[::1]")
#: The directory that a container can write to.
TMP = "/tmp"
#: Directories in which other programs have files as well.
SHARED = (
    "/",
    "/etc",
    "/etc/pki/tls",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/private",
    "/etc/ssl",
    "/etc/ssl/certs",
    "/etc/ssl/private",
    "/home",
    "/opt",
    "/run",
    "/srv",
    TMP,
    "/usr",
    "/var",
    "/var/lib",
)
#: certbot's files are links from here to other directories below.
CERTBOT = "/etc/letsencrypt"
#: Lets the user of the image bind ports below 1024; some container engines do anyway.
SYSCTL = "net.ipv4.ip_unprivileged_port_start"


@dataclass(frozen=True)
class Port:
    """A port of the server that is published."""

    name: str
    number: int


@dataclass(frozen=True)
class File:
    """A file that the options name."""

    #: Its path on this machine.
    source: str
    #: Its path in the container.
    target: str


def ports(project: Project) -> list[Port]:
    """The ports of a server with TLS, as clients reach them."""
    found = [Port("https", HTTPS)]
    if "redirect_bind" in project.options:
        found.append(Port("redirect", REDIRECT))
    for bind in project.options.get("insecure_bind", []):
        host, _, port = bind.rpartition(":")
        if bind.startswith((UNIX, INHERITED)) or host not in WILDCARDS:
            continue
        # An address of IPv4 and one of IPv6 may have the same port.
        if all(other.number != int(port) for other in found):
            is_first = all(other.name != "http" for other in found)
            found.append(Port("http" if is_first else f"http-{port}", int(port)))
    return found


def has_address(project: Project, bind: str) -> bool:
    """Whether the server can bind an address of `insecure_bind` in the container. If it cannot, it
    does not start."""
    if bind.startswith(INHERITED):
        return False
    if bind.startswith(UNIX):
        path = os.path.join(in_image(project), bind.removeprefix(UNIX))
        return os.path.normpath(path).startswith(f"{TMP}/")
    host, _, port = bind.rpartition(":")
    taken = [HTTPS, REDIRECT] if "redirect_bind" in project.options else [HTTPS]
    is_local = host in (*WILDCARDS, *LOOPBACK) or host.startswith("127.")
    return is_local and int(port) not in taken


def address_remarks(project: Project) -> list[str]:
    """The addresses that the user has to remove, as comments."""
    return [
        f"# The container cannot bind {bind} of insecure_bind: remove it from the options."
        for bind in project.options.get("insecure_bind", [])
        if not has_address(project, bind)
    ]


def addresses(project: Project) -> dict[str, str]:
    """The options for the addresses of the server, and for what it stores."""
    found = {"bind": f":{HTTPS}"}
    if "redirect_bind" in project.options:
        found["redirect_bind"] = f":{REDIRECT}"
    if "acme_domain" in project.options:
        found["acme_cache"] = acme_cache(project)
    return found


def acme_cache(project: Project) -> str:
    """The directory of the account and the certificates, in the container."""
    default = f"/var/lib/{project.name}/acme"
    return os.path.join(in_image(project), project.option("acme_cache", default))


def in_image(project: Project) -> str:
    """The working directory in the container."""
    return f"/srv/{project.name}"


def files(project: Project) -> list[File]:
    """The files of the options, each once."""
    named = [path for name in FILES for path in project.options.get(name, [])]
    found = [
        File(
            os.path.normpath(os.path.join(project.directory, path)),
            os.path.normpath(os.path.join(in_image(project), path)),
        )
        for path in named
    ]
    return list(dict.fromkeys(found))


def is_alone(project: Project, file: File) -> bool:
    """Whether the file is mounted alone, as its directory has other things."""
    directory, source = os.path.dirname(file.target), os.path.dirname(file.source)
    is_home = directory == "/root" or os.path.dirname(directory) == "/home"
    return (
        directory in SHARED
        or is_home
        or f"{in_image(project)}/".startswith(f"{directory}/")
        # The project itself, or a directory above it.
        or f"{project.directory}/".startswith(f"{source}/")
        or hides_others(project, file)
    )


def hides_others(project: Project, file: File) -> bool:
    """Whether a mount of the directory of the file would hide other files of the image."""
    directory, source = os.path.dirname(file.target), os.path.dirname(file.source)
    if not directory.startswith(f"{in_image(project)}/"):
        return False
    try:
        names = os.listdir(source)
    except OSError:
        # It does not exist yet, or only the server may read it.
        return False
    known = {each.source for each in files(project)}
    return any(os.path.join(source, name) not in known for name in names)


def mounts(project: Project) -> list[File]:
    """The directories and files that are mounted from this machine."""
    found = []
    for file in files(project):
        if file.target.startswith(f"{CERTBOT}/live/"):
            found.append(File(CERTBOT, CERTBOT))
        elif is_alone(project, file):
            found.append(file)
        else:
            found.append(File(os.path.dirname(file.source), os.path.dirname(file.target)))
    return list(dict.fromkeys(found))


def copied(project: Project) -> list[str]:
    """Files of the options that `COPY . .` would put into the image."""
    inside = f"{project.directory}/"
    return [
        file.source.removeprefix(inside)
        for file in files(project)
        if file.source.startswith(inside)
    ]


def run_options(project: Project) -> str:
    """The options of `docker run` for ports and mounts, in a comment."""
    words = [f"-p {port.number}:{port.number}" for port in ports(project)]
    words.append(f"--sysctl {SYSCTL}=0")
    for mount in mounts(project):
        words.append("-v " + shlex.quote(f"{mount.source}:{mount.target}:ro"))
    if "acme_domain" in project.options:
        words.append("-v " + shlex.quote(f"{project.name}-acme:{acme_cache(project)}"))
    return " \\\n#       ".join(words)


def remarks(project: Project, user: int) -> str:
    """What the user has to do about the files, as comments."""
    lines = []
    if files(project):
        lines.append(f"# User {user} must be able to read the files that are mounted.")
    if any(is_alone(project, file) for file in files(project)):
        lines += [
            "# A file that is mounted alone keeps its content: restart the container after a",
            "# renewal, or give the certificate and the key a directory of their own.",
        ]
    if names := copied(project):
        lines.append(f"# List {', '.join(names)} in .dockerignore, too.")
    return "\n".join(lines + address_remarks(project))


def compose_ports(project: Project) -> str:
    return "\n".join(f'      - "{port.number}:{port.number}"' for port in ports(project))


def compose_volumes(project: Project) -> str:
    """The mounts of a service of Docker Compose."""
    lines = [
        f"      - {{type: bind, source: {compose_string(mount.source)}, "
        f"target: {compose_string(mount.target)}, read_only: true}}"
        for mount in mounts(project)
    ]
    if "acme_domain" in project.options:
        target = compose_string(acme_cache(project))
        lines.append(f"      - {{type: volume, source: acme, target: {target}}}")
    return "\n".join(["    volumes:", *lines])


def compose_string(text: str) -> str:
    """A string of Docker Compose, which replaces `$NAME` by a variable."""
    return yaml_string(text).replace("$", "$$")


def refuse_acme(project: Project) -> None:
    """Raises InitError if the server orders certificates: a cluster has several of them."""
    if "acme_domain" in project.options:
        raise InitError(
            "the authority of acme_domain connects to any of the pods, and only the one that has"
            " placed the order can answer: let cert-manager put the certificate into a Secret, and"
            " write certfile and keyfile into the options in place of acme_domain"
        )


def refuse_tls(project: Project) -> None:
    """Raises InitError if the server speaks TLS, which the router of a platform does itself."""
    if project.has_tls:
        names = [*FILES, "cert_reqs", "acme_domain", "redirect_bind", "insecure_bind"]
        raise InitError(
            "the router of the platform terminates TLS itself, and reaches the server at one port,"
            " by plain HTTP: remove"
            f" {', '.join(name for name in names if name in project.options)} from the options"
        )


def keys(project: Project) -> dict[str, File]:
    """The keys of a Secret of Kubernetes that has the files."""
    found: dict[str, File] = {}
    for file in files(project):
        key = re.sub(r"[^\w.-]", "_", os.path.basename(file.target), flags=re.ASCII)
        found[f"{len(found) + 1}-{key}" if key in found else key] = file
    return found


def secret_command(project: Project) -> str:
    """How to make the Secret, in a comment."""
    words = [f"kubectl create secret generic {project.name}-tls"]
    for key, file in keys(project).items():
        words.append("--from-file=" + shlex.quote(f"{key}={file.source}"))
    return "#   " + " \\\n#       ".join(words)


def pod_remarks(project: Project) -> str:
    """What the user has to do about the files and addresses of a pod, as comments."""
    lines = []
    if any(is_alone(project, file) for file in files(project)):
        lines += [
            "# A file that is mounted by subPath keeps its content: restart the pods after a",
            "# change of the Secret, or give the certificate and the key a directory of their own.",
        ]
    return "\n".join(lines + address_remarks(project))


def volumes(project: Project) -> tuple[list[str], list[str]]:
    """The mounts of a container in a pod, and the volumes of the pod: one for each directory, and
    one for the files that are mounted alone."""
    groups: dict[str, list[str]] = {}
    for key, file in keys(project).items():
        directory = "" if is_alone(project, file) else os.path.dirname(file.target)
        groups.setdefault(directory, []).append(key)
    known = keys(project)
    in_container, of_pod = [], []
    for number, (directory, names) in enumerate(groups.items(), 1):
        volume = "tls" if number == 1 else f"tls-{number}"
        # In a directory a file has its own name, which the key may not have.
        items = {key: os.path.basename(known[key].target) if directory else key for key in names}
        listed = ", ".join(
            f"{{key: {yaml_string(key)}, path: {yaml_string(path)}}}" for key, path in items.items()
        )
        of_pod += [
            f"        - name: {volume}",
            f"          secret: {{secretName: {project.name}-tls, items: [{listed}]}}",
        ]
        places = (
            [(directory, "")]
            if directory
            else [(known[key].target, f", subPath: {yaml_string(key)}") for key in names]
        )
        in_container += [
            f"            - {{name: {volume}, mountPath: {yaml_string(path)}{rest}, "
            "readOnly: true}"
            for path, rest in places
        ]
    return in_container, of_pod
