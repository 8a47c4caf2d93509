"""The ``rustwsgi`` command."""

from __future__ import annotations

import sys

from rustwsgi import _rustwsgi


def main(argv: list[str] | None = None) -> int:
    """Run the command line ``argv``, by default that of the process. Returns the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    return _rustwsgi.main(["rustwsgi", *arguments])
