"""Files that change while they are served, and files that are not in memory."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from harness import NoResponse, ServerProcess, build_request, wait_until
from harness.supervision import descriptors, workers

#: More than the buffers of both sockets hold.
LARGE = 32 << 20


@pytest.fixture
def site(fresh_server, tmp_path: Path) -> ServerProcess:
    return fresh_server("static_app:app", "--static", f"/s={tmp_path}")


def test_change_shows_in_the_next_response(site, tmp_path):
    path = tmp_path / "a.txt"
    get = build_request("GET", "/s/a.txt")
    with site.connect() as client:
        assert client.request(get).status == 404
        etags = set()
        for n in range(50):
            path.write_text(f"content {n}" + "x" * n)
            response = client.request(get)
            assert response.text == path.read_text()
            etags.add(response.get("ETag"))
        assert len(etags) == 50
        (tmp_path / "new").write_text("replaced")
        (tmp_path / "new").rename(path)
        assert client.request(get).text == "replaced"
        (tmp_path / "a.txt.gz").write_text("variant")
        assert client.request(get).get("Vary") == "Accept-Encoding"
        path.unlink()
        assert client.request(get).status == 404


def test_file_that_shrinks_ends_the_connection_only(site, tmp_path):
    path = tmp_path / "large"
    path.write_bytes(b"x" * LARGE)
    with site.connect(receive_buffer=8192) as client:
        client.send(build_request("GET", "/s/large"))
        response = client.head()
        assert response.get("Content-Length") == str(LARGE)
        os.truncate(path, 1 << 20)
        received = 0
        try:
            while data := client.sock.recv(1 << 16):
                received += len(data)
        except ConnectionResetError:
            pass
        assert received < LARGE
    site.wait_for_event("response.failed", "shrank")
    assert len(site.get("/s/large").body) == 1 << 20


def test_file_that_grows_is_sent_with_its_first_length(site, tmp_path):
    path = tmp_path / "large"
    path.write_bytes(b"x" * LARGE)
    with site.connect(receive_buffer=8192) as client:
        client.send(build_request("GET", "/s/large"))
        response = client.head()
        with path.open("ab") as file:
            file.write(b"y" * 1000)
        client.read_body(response, "GET")
        assert response.complete and response.body == b"x" * LARGE
        assert (
            client.request(build_request("GET", "/s/large", fields=[("Range", "bytes=-1")])).body
            == b"y"
        )


def test_deleted_file_is_sent_to_its_end(site, tmp_path):
    path = tmp_path / "large"
    path.write_bytes(b"x" * LARGE)
    with site.connect(receive_buffer=8192) as client:
        client.send(build_request("GET", "/s/large"))
        response = client.head()
        path.unlink()
        client.read_body(response, "GET")
        assert response.complete and len(response.body) == LARGE


def drop_cache(path: Path) -> None:
    """Has the kernel forget the content of a file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@pytest.mark.parametrize("size", [1, 5000, 65536, 65537, LARGE])
def test_file_that_is_not_in_memory_is_sent(site, tmp_path, size):
    path = tmp_path / "cold"
    content = os.urandom(size)
    path.write_bytes(content)
    ranges = [("Range", f"bytes=0-{size // 3},{size // 2}-")]
    with site.connect() as client:
        for fields in ([], [], ranges):
            drop_cache(path)
            response = client.request(build_request("GET", "/s/cold", fields=fields))
            assert response.complete
            if not fields:
                assert response.body == content
            else:
                assert response.status in (200, 206)
                assert content[: size // 3 + 1] in response.body


def test_clients_of_files_that_are_not_in_memory_do_not_disturb_each_other(site, tmp_path):
    files = {f"{n}": os.urandom(3 << 20) for n in range(6)}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        drop_cache(tmp_path / name)
    failed: list[object] = []

    def read(name: str) -> None:
        try:
            assert site.get(f"/s/{name}").body == files[name]
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=read, args=(name,)) for name in files for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_client_that_disconnects_costs_nothing(site, tmp_path):
    path = tmp_path / "cold"
    path.write_bytes(os.urandom(LARGE))
    for _ in range(10):
        drop_cache(path)
        with site.connect() as client:
            client.send(build_request("GET", "/s/cold"))
            client.reset()
    assert site.get("/s/missing").status == 404


def test_files_are_closed_after_their_responses(site, tmp_path):
    for n in range(200):
        (tmp_path / str(n)).write_text("x")
    for n in range(200):
        assert site.get(f"/s/{n}").status == 200

    def are_closed() -> bool:
        open_files = [path for pid in site.processes() for path in descriptors(pid)]
        return not any(path.startswith(f"{tmp_path}/") for path in open_files)

    # One more turn of the poller closes the last ones.
    assert site.get("/s/missing").status == 404
    wait_until(are_closed, "all files are closed")


def test_server_without_descriptors_rejects_the_request(fresh_server, tmp_path):
    """503, and the worker goes on."""
    import resource

    (tmp_path / "a").write_text("a")
    site = fresh_server("static_app:app", "--static", f"/s={tmp_path}")
    with site.connect() as client:
        assert client.request(build_request("GET", "/s/a")).text == "a"
        (worker,) = workers(site, 1)
        limits = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        # Below the lowest free number.
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (3, limits[1]))
        response = client.request(build_request("GET", "/s/a"))
        assert (response.status, response.get("Retry-After")) == (503, "5")
        resource.prlimit(worker, resource.RLIMIT_NOFILE, limits)
        assert client.request(build_request("GET", "/s/a")).text == "a"
    site.wait_for_event("static.failed")
    assert site.counters()["static_failed"] == 1


def test_shutdown_waits_for_a_file(fresh_server, tmp_path):
    (tmp_path / "large").write_bytes(b"x" * LARGE)
    site = fresh_server("static_app:app", "--static", f"/s={tmp_path}")
    with site.connect(receive_buffer=8192) as client:
        client.send(build_request("GET", "/s/large"))
        response = client.head()
        site.wait_for_event("server.ready")
        site.send_signal(15)
        site.wait_for_event("server.stopping")
        client.read_body(response, "GET")
        assert response.complete and len(response.body) == LARGE
    assert site.wait() == 0
    with pytest.raises((NoResponse, OSError)):
        site.get("/s/large")
