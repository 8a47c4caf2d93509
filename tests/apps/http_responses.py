"""A response as the client asks for it, so that each test shows its application's behaviour.

The query `spec` is JSON: status, fields, blocks (latin-1 text), and `as`, how the blocks are given:
list, tuple, generator, iterator, items (`__getitem__`) or write. Each block is
repeated `swell` times inside itself, all of them `times` times. After `raise_after` blocks it fails.
"""

import json
from urllib.parse import parse_qs

from echo import recorded


class Boom(Exception):
    """The failure that tests look for in the log."""


class Items:
    """An iterable by the old protocol, of unknown length."""

    def __init__(self, blocks):
        self.blocks = blocks

    def __getitem__(self, index):
        return self.blocks[index]


def generate(blocks, raise_after):
    for number, block in enumerate(blocks):
        if number == raise_after:
            raise Boom("secret detail")
        yield block
    if raise_after is not None and raise_after >= len(blocks):
        raise Boom("secret detail")


@recorded
def app(environ, start_response):
    spec = json.loads(parse_qs(environ["QUERY_STRING"])["spec"][0])
    blocks = [block.encode("latin-1") for block in spec.get("blocks", [])]
    blocks = [block * spec.get("swell", 1) for block in blocks]
    blocks *= spec.get("times", 1)
    raise_after = spec.get("raise_after")
    if raise_after == -1:
        raise Boom("secret detail")
    fields = [(name, value) for name, value in spec.get("fields", [])]
    write = start_response(spec.get("status", "200 OK"), fields)
    kind = spec.get("as", "list")
    if kind == "write":
        for block in generate(blocks, raise_after):
            write(block)
        return []
    if raise_after is not None or kind == "generator":
        return generate(blocks, raise_after)
    return {"list": list, "tuple": tuple, "iterator": iter, "items": Items}[kind](blocks)
