"""--reload: a developer saves a file, and the next request runs it or shows the error."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import wait_until

pytestmark = pytest.mark.second_door("no case")

SOURCE = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"{}"]
"""


def serves(server, body: bytes, status: int = 200) -> None:
    def is_so() -> bool:
        response = server.get("/")
        return response.status == status and body in response.body

    wait_until(is_so, f"{status} {body!r}\n{server.stderr()}", timeout=20)


def test_reload_on_change_survives_a_mistake(fresh_server, tmp_path: Path) -> None:
    module = tmp_path / "edited.py"
    module.write_text(SOURCE.format("one"))
    server = fresh_server("edited:app", "--reload", "--workers", "2", cwd=tmp_path)
    serves(server, b"one")
    module.write_text(SOURCE.format("two!"))
    server.wait_for_event("reload.source_changed", r"edited\.py")
    serves(server, b"two!")
    module.write_text("oops = <b>\n")
    serves(server, b"SyntaxError", 500)
    # Old workers serve beside the new ones until all of these are ready.
    serves(server, b"&lt;b&gt;", 500)
    module.write_text(SOURCE.format("three"))
    serves(server, b"three")


def test_reload_to_broken_code_is_logged(fresh_server, tmp_path: Path) -> None:
    """Regression: the log reported a successful reload."""
    module = tmp_path / "edited.py"
    module.write_text(SOURCE.format("one"))
    server = fresh_server("edited:app", "--reload", cwd=tmp_path)
    serves(server, b"one")
    module.write_text("oops = <b>\n")
    server.wait_for_event("reload.error_page")
    assert "[reload.completed]" not in server.stderr()
    module.write_text(SOURCE.format("mended"))
    server.wait_for_event("reload.completed")
    serves(server, b"mended")


def test_broken_code_at_the_start_is_reloaded_once_fixed(fresh_server, tmp_path: Path) -> None:
    module = tmp_path / "edited.py"
    module.write_text("import nothing_of_that_name\n")
    server = fresh_server("edited:app", "--reload", cwd=tmp_path)
    serves(server, b"nothing_of_that_name", 500)
    module.write_text(SOURCE.format("mended"))
    serves(server, b"mended")


def test_change_of_an_extra_file_reloads(fresh_server, tmp_path: Path) -> None:
    (tmp_path / "edited.py").write_text(
        "text = open('data').read().encode()\n" + SOURCE.replace('b"{}"', "text")
    )
    (tmp_path / "data").write_text("one")
    server = fresh_server("edited:app", "--reload", "--reload-extra-file", "data", cwd=tmp_path)
    serves(server, b"one")
    (tmp_path / "data").write_text("two!")
    serves(server, b"two!")


def test_change_without_reload_option_is_ignored(fresh_server, tmp_path: Path) -> None:
    module = tmp_path / "edited.py"
    module.write_text(SOURCE.format("one"))
    args = ["--max-worker-lifetime", "600"]
    server = fresh_server("edited:app", *args, cwd=tmp_path)
    serves(server, b"one")
    module.write_text(SOURCE.format("two!"))
    serves(server, b"one")
    assert "reload.source_changed" not in server.stderr()


def test_module_without_a_file_is_not_watched(fresh_server, tmp_path: Path) -> None:
    """Regression: stand-ins for missing modules may raise any exception, which ended the start."""
    module = tmp_path / "edited.py"
    stand_in = (
        "import sys, types\n"
        "class StandIn(types.ModuleType):\n"
        "    def __getattribute__(self, name):\n"
        "        raise ImportError('not installed')\n"
        "sys.modules['stand_in'] = StandIn('stand_in')\n"
    )
    module.write_text(stand_in + SOURCE.format("one"))
    server = fresh_server("edited:app", "--reload", cwd=tmp_path)
    serves(server, b"one")
    module.write_text(stand_in + SOURCE.format("two!"))
    serves(server, b"two!")
