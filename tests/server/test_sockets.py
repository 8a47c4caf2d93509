"""The sockets of the server: TCP, IPv6, unix sockets, and inherited sockets."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from harness import (
    APPS,
    TIMEOUT,
    Client,
    build_request,
    child_environment,
    door_command,
    has_ipv6,
    run_cli,
    wait_until,
)
from harness.ports import free_port
from harness.supervision import listens

PLAIN = "http_cli:app"


def test_port_in_use_is_an_error(door: str, fresh_server) -> None:
    server = fresh_server(PLAIN)
    done = run_cli(door, "--bind", f"127.0.0.1:{server.port}", PLAIN)
    assert done.returncode == 1 and str(server.port) in done.stderr, done
    assert re.search("in use", done.stderr, re.IGNORECASE)
    assert server.get("/").status == 200


def test_foreign_address_is_an_error(door: str) -> None:
    done = run_cli(door, "--bind", "192.0.2.1:0", PLAIN)
    assert done.returncode == 1 and "192.0.2.1" in done.stderr, done


def test_reuse_port_lets_two_servers_share_an_address(door: str, fresh_server) -> None:
    first = fresh_server(PLAIN, "--reuse-port")
    second = fresh_server(PLAIN, "--reuse-port", bind=f"127.0.0.1:{first.port}")
    assert second.port == first.port
    assert first.stop() == 0
    assert second.get("/").status == 200
    # Without the option the address belongs to one server.
    done = run_cli(door, "--bind", f"127.0.0.1:{second.port}", PLAIN)
    assert done.returncode == 1 and str(second.port) in done.stderr, done


def test_port_can_be_used_again_at_once(fresh_server) -> None:
    """Connections in TIME_WAIT do not stop a restart."""
    first = fresh_server(PLAIN, bind=f"127.0.0.1:{free_port()}")
    assert first.get("/", fields=[("Connection", "close")]).status == 200
    assert first.stop() == 0
    assert fresh_server(PLAIN, bind=f"127.0.0.1:{first.port}").get("/").status == 200


def test_several_sockets_are_served(fresh_server, tmp_path: Path) -> None:
    path = tmp_path / "s"
    server = fresh_server(PLAIN, "--bind", f"unix:{path}")
    server.wait_for_log(re.escape(f"unix:{path}"))
    assert server.get("/").status == 200
    with _connect_unix(path) as client:
        assert client.request(build_request()).status == 200


def _connect_unix(path: Path) -> Client:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(TIMEOUT)
    sock.connect(str(path))
    return Client(sock)


def test_unix_socket_is_served(fresh_server, tmp_path: Path) -> None:
    path = tmp_path / "s"
    server = fresh_server(PLAIN, bind=f"unix:{path}")
    assert server.unix == str(path)
    with server.connect() as client:
        for _ in range(2):
            assert client.request(build_request()).status == 200
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert server.stop() == 0
    assert not path.exists(), "the socket is removed at the end"


SWAP = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int bind(int fd, const struct sockaddr *address, socklen_t size) {
    int (*next)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "bind");
    int result = next(fd, address, size);
    if (result == 0 && address->sa_family == AF_UNIX) {
        const char *path = ((const struct sockaddr_un *)address)->sun_path;
        unlink(path);
        if (symlink(getenv("SWAP_TARGET"), path) != 0) abort();
    }
    return result;
}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
def test_unix_socket_swapped_for_a_link_is_not_followed(door: str, tmp_path: Path) -> None:
    """The owner of the directory can do it between bind and chmod: chmod would then open a file of
    root to all users. Here a library does it, which never misses the moment."""
    source, library = tmp_path / "swap.c", tmp_path / "swap.so"
    source.write_text(SWAP)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    target = tmp_path / "target"
    target.touch(0o600)
    path = tmp_path / "s"
    preload = " ".join(filter(None, [str(library), os.environ.get("LD_PRELOAD")]))
    env = {"LD_PRELOAD": preload, "SWAP_TARGET": str(target)}
    done = run_cli(door, "--bind", f"unix:{path}", PLAIN, env=env)
    assert path.is_symlink() and stat.S_IMODE(target.stat().st_mode) == 0o600
    assert done.returncode == 1, done
    said = f"Cannot listen on unix:{path}: another process has replaced it"
    assert said in done.stderr and "Traceback" not in done.stderr, done


OLD_LINUX = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>

long syscall(long number, ...) {
    long (*next)(long, ...) = dlsym(RTLD_NEXT, "syscall");
    long a[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    if (number == 452) { errno = ENOSYS; return -1; }
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
"""
# A namespace of mounts in which /proc is empty.
WITHOUT_PROC = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh"]
without_proc = pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run([*WITHOUT_PROC, "true"], capture_output=True).returncode != 0,
    reason="needs a namespace of mounts",
)


def linux() -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))


@without_proc
@pytest.mark.skipif(linux() < (6, 6), reason="this kernel cannot do it without /proc")
def test_unix_socket_without_proc_is_served(door: str, tmp_path: Path) -> None:
    """In a small container or a chroot. Regression: the mode was set through /proc only."""
    path = tmp_path / "s"
    process = subprocess.Popen(
        [*WITHOUT_PROC, *door_command(door), "--bind", f"unix:{path}", PLAIN],
        cwd=APPS,
        env=child_environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: listens(path) or process.poll() is not None, "it listens")
        assert process.poll() is None
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
        with _connect_unix(path) as client:
            assert client.request(build_request()).status == 200
    finally:
        process.terminate()
        _, said = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0 and not path.exists(), said


@without_proc
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
def test_unix_socket_whose_mode_cannot_be_set_is_an_error(tmp_path: Path, door: str) -> None:
    """Without /proc on a Linux before 6.6: an error, and no file is left behind."""
    source, library = tmp_path / "old.c", tmp_path / "old.so"
    source.write_text(OLD_LINUX)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    path = tmp_path / "s"
    preload = " ".join(filter(None, [str(library), os.environ.get("LD_PRELOAD")]))
    done = subprocess.run(
        [*WITHOUT_PROC, *door_command(door), "--bind", f"unix:{path}", PLAIN],
        cwd=APPS,
        env=child_environment({"LD_PRELOAD": preload}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and not path.exists(), done
    said = (
        f"Cannot listen on unix:{path}: cannot set the mode of its file; mount /proc, or use Linux"
    )
    assert said in done.stderr, done


def test_stale_unix_socket_is_replaced(fresh_server, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert fresh_server(PLAIN, bind=f"unix:{path}").get("/").status == 200


def test_live_unix_socket_is_refused(door: str, fresh_server, tmp_path: Path) -> None:
    path = tmp_path / "s"
    server = fresh_server(PLAIN, bind=f"unix:{path}")
    done = run_cli(door, "--bind", f"unix:{path}", PLAIN)
    assert done.returncode == 1 and str(path) in done.stderr, done
    assert server.get("/").status == 200, "the other server keeps its socket"


def test_file_at_the_socket_path_is_kept(door: str, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("precious")
    done = run_cli(door, "--bind", f"unix:{path}", PLAIN)
    assert done.returncode == 1 and path.read_text() == "precious", done


def test_inherited_socket_is_served(fresh_server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        server = fresh_server(PLAIN, bind=f"fd://{fd}", pass_fds=(fd,))
        server.host, server.port = listener.getsockname()
        assert server.get("/").status == 200
        assert server.stop() == 0


def test_inherited_socket_that_is_shut_down_uses_no_processor_time(fresh_server) -> None:
    """Its owner shuts it down, and every accept fails at once. Regression: the poller looped and
    never ended."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        server = fresh_server(PLAIN, bind=f"fd://{fd}", pass_fds=(fd,))
        server.host, server.port = listener.getsockname()
        with server.connect() as client:
            assert client.request(build_request()).status == 200
            before = server.cpu_seconds()
            listener.shutdown(socket.SHUT_RDWR)
            server.wait_for_event("accept.paused")
            wait_until(lambda: server.counters().get("accept_failed", 0) >= 10, "ten attempts")
            assert server.cpu_seconds() - before < 0.5
            assert client.request(build_request()).status == 200
            server.send_signal(signal.SIGTERM)
            assert client.at_eof()
        assert server.wait() == 0


def test_inherited_socket_that_becomes_blocking_is_served(fresh_server) -> None:
    """The process that passed it makes it blocking, which the server shares. Regression: the poller
    waited in accept() for the next client, and with it all connections and TERM."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        server = fresh_server(PLAIN, "--threads", "2", bind=f"fd://{fd}", pass_fds=(fd,))
        server.host, server.port = listener.getsockname()
        with server.connect() as client:
            assert client.request(build_request()).status == 200
            for number in (1, 2):
                listener.setblocking(True)
                assert server.get("/").status == 200
                assert client.request(build_request()).status == 200
                wait_until(
                    lambda: server.stderr().count("[listener.blocking]") == number,  # noqa: B023
                    "it is non-blocking again",
                )
        assert server.stop() == 0


def test_inherited_socket_is_not_passed_to_children(fresh_server) -> None:
    """Regression: commands of the application inherited it and could listen after the server had
    ended."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        server = fresh_server("supervised:app", bind=f"fd://{fd}", pass_fds=(fd,))
        server.host, server.port = listener.getsockname()
        assert server.get(f"/passed?{fd}").body == b""
        assert server.get("/passed?1").body != b""


def test_bad_descriptor_is_an_error(door: str) -> None:
    done = run_cli(door, "--bind", "fd://99", PLAIN)
    assert done.returncode in {1, 2} and "99" in done.stderr, done


def test_descriptor_that_cannot_listen_is_an_error(door: str) -> None:
    done = run_cli(door, "--bind", "fd://1", PLAIN)  # a pipe
    assert done.returncode == 1 and "fd://1 is not a stream socket" in done.stderr, done


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 loopback here")
def test_ipv6_address_is_served(fresh_server) -> None:
    server = fresh_server(PLAIN, bind="[::1]:0")
    assert server.host == "::1"
    state = server.get("/").json()
    assert state["remote"] == "::1" and state["server"][1] == str(server.port)
