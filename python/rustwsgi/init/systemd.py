"""A service of systemd, and the socket that may belong to it."""

from __future__ import annotations

import os
import re

from rustwsgi.init.addresses import INHERITED, UNIX, streams
from rustwsgi.init.project import Project
from rustwsgi.init.template import fill

#: How much longer systemd waits than the server itself, in seconds.
MARGIN = 10
#: Ports that need a capability.
PRIVILEGED = 1024

SERVICE = """\
# @name@.service, printed by: rustwsgi init systemd @app@
#
@adduser@
#   rustwsgi init systemd @app@ > /etc/systemd/system/@name@.service
#   systemctl daemon-reload
#   systemctl enable --now @name@
@remarks@
[Unit]
Description=@name@, a WSGI application
After=network.target
# With a socket of systemd, which `rustwsgi init systemd --socket` prints, connections wait during a
# restart. It replaces --bind.
@unused@Requires=@name@.socket
@unused@After=@name@.socket

[Service]
# The server reports when it serves, reloads and stops, and feeds the watchdog.
Type=notify
NotifyAccess=main
WatchdogSec=30
# Root owns the code; the server runs as a user who cannot change it. The group may use the socket.
User=@user@
Group=@group@
# /run/@name@, for the socket. It stays when the service stops, for a socket of systemd.
RuntimeDirectory=@name@
RuntimeDirectoryPreserve=yes
@state@
@logs@
WorkingDirectory=@directory@
ExecStart=@command@
# New workers with new code and options, without losing a request.
ExecReload=/bin/kill -HUP $MAINPID
# TERM goes to the master, which lets running requests finish (--graceful-timeout).
KillMode=mixed
TimeoutStartSec=@start@
TimeoutStopSec=@stop@
Restart=on-failure
# Invalid options, and an application that cannot be imported: a restart does not help.
RestartPreventExitStatus=2 3
LimitNOFILE=65536
#MemoryMax=2G

# The server needs no more than this. Name directories that the application writes to in
# ReadWritePaths=, or use StateDirectory=.
NoNewPrivileges=yes
CapabilityBoundingSet=@capabilities@
AmbientCapabilities=@capabilities@
ProtectSystem=strict
@writable@
ProtectHome=@home@
PrivateTmp=yes
PrivateDevices=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""

SOCKET = """\
# @name@.socket, printed by: rustwsgi init systemd --socket @app@
#
# systemd opens the socket, and the service takes it over: connections wait while the service starts
# or restarts. Remove the comment signs in front of Requires= and After= in @name@.service.
@remarks@
[Unit]
Description=Socket of @name@

[Socket]
@listen@
Backlog=@backlog@
SocketUser=@user@
SocketGroup=@group@
# The proxy connects as a member of the group.
SocketMode=0660

[Install]
WantedBy=sockets.target
"""


def render(project: Project) -> str:
    """The service."""
    is_unix = any(bind.startswith(UNIX) for bind in project.binds())
    is_passed = all(bind.startswith(INHERITED) for bind in project.binds())
    wanted = {
        "workers": project.workers,
        "bind": project.binds()[0],
        # The group may use the socket; the proxy behind it says who the client is.
        **({"umask": "007"} if is_unix else {}),
        **({"forwarded_headers": "for,proto"} if is_unix or is_passed else {}),
        "keep_alive": "75",
    }
    is_bindable = any(0 < port < PRIVILEGED for port in ports(project))
    paths = sorted(written(project) - {f"/var/log/{project.name}"})
    return fill(
        SERVICE,
        name=project.name,
        app=project.quoted_app,
        adduser="" if project.has_user else f"#   adduser --system --no-create-home {project.user}",
        user=project.user,
        group=project.group,
        directory=escape(project.directory),
        # A dollar sign begins a variable, in this line only.
        command=escape(project.command(wanted)).replace("$", "$$"),
        remarks="\n".join(remarks(project)),
        # Nothing else opens the sockets of fd://N.
        unused="" if is_passed else "#",
        state=f"StateDirectory={project.name}" if project.options.get("acme_domain") else "",
        logs=f"LogsDirectory={project.name}"
        if f"/var/log/{project.name}" in written(project)
        else "",
        writable=f"ReadWritePaths={' '.join(map(quoted, paths))}" if paths else "",
        start=str(project.number("boot_timeout", 300) + MARGIN),
        stop=str(project.number("graceful_timeout", 30) + MARGIN),
        capabilities="CAP_NET_BIND_SERVICE" if is_bindable else "",
        # Or it would hide the code, or the interpreter of the virtual environment.
        home="read-only" if is_at_home(project) else "yes",
    )


def render_socket(project: Project) -> str:
    """The socket. Raises InitError."""
    inherited = [bind for bind in project.binds() if bind.startswith(INHERITED)]
    remark = f"#\n# {', '.join(inherited)} of the options becomes {project.default_socket}."
    return fill(
        SOCKET,
        name=project.name,
        app=project.quoted_app,
        user=project.user,
        group=project.group,
        remarks=remark if inherited else "",
        listen="\n".join(f"ListenStream={escape(each)}" for each in streams(project)),
        backlog=project.option("backlog", "2048"),
    )


def remarks(project: Project) -> list[str]:
    """What of the options does not go with a service."""
    found = []
    if project.file:
        found.append(f"#\n# {project.file} in {project.directory} has further options.")
    for name, reason in (
        ("daemon", "systemd starts and watches the server itself"),
        ("user", "User= sets it, also for the master"),
        ("group", "Group= sets it, also for the master"),
        ("reload", "it is for development"),
    ):
        if name in project.options:
            found.append(f"#\n# Remove {name} from the options: {reason}.")
    return found


def ports(project: Project) -> list[int]:
    """The TCP ports of the server."""
    found = []
    for name in ("bind", "insecure_bind", "redirect_bind", "metrics"):
        for bind in project.options.get(name, []):
            match = re.search(r":(\d+)$", bind)
            if match and not bind.startswith("unix:"):
                found.append(int(match[1]))
    return found


def written(project: Project) -> set[str]:
    """The directories of files that the server writes, except for those that systemd makes."""
    files = [project.option(name, "") for name in ("access_logfile", "error_logfile", "pid")]
    files += [bind.removeprefix(UNIX) for bind in project.binds() if bind.startswith(UNIX)]
    found = {
        os.path.dirname(os.path.join(project.directory, file)) for file in files if file not in "-"
    }
    found |= {project.option("acme_cache", "")}
    return found - {"", "/tmp", f"/run/{project.name}"}


def is_at_home(project: Project) -> bool:
    return any(
        path.startswith(("/home/", "/root/", "/run/user/"))
        for path in (f"{project.directory}/", os.path.realpath(project.program), project.program)
    )


def escape(text: str) -> str:
    """A percent sign begins a specifier of systemd."""
    return text.replace("%", "%%")


def quoted(path: str) -> str:
    """A path in a list of them."""
    return f'"{escape(path)}"' if " " in path else escape(path)
