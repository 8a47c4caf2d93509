"""A file of 1 MiB through `wsgi.file_wrapper`; servers without it read the file block by block."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

#: The body of large.py.
BODY = bytes(range(256)) * 4096
_BLOCK = 64 * 1024

_directory = tempfile.TemporaryDirectory(prefix="rustwsgi-bench-")
_PATH = os.path.join(_directory.name, "body")
with open(_PATH, "wb") as _file:
    _file.write(BODY)


class _Blocks:
    """What PEP 3333 suggests where a server has no `wsgi.file_wrapper`."""

    def __init__(self, file: io.BufferedReader, block_size: int) -> None:
        self._file = file
        self._block_size = block_size

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self._file.read(self._block_size), b"")

    def close(self) -> None:
        self._file.close()


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    file = open(_PATH, "rb")  # noqa: SIM115 - the server closes it
    start_response(
        "200 OK",
        [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(BODY)))],
    )
    wrapped: Iterable[bytes] = environ.get("wsgi.file_wrapper", _Blocks)(file, _BLOCK)
    return wrapped
