"""Finds the modules of the rustwsgi package inside the embedded binary."""

import importlib.abc
import importlib.machinery
import importlib.util
import sys

NATIVE = "rustwsgi._rustwsgi"


class Finder(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    def __init__(self, sources):
        self.sources = dict(sources)

    def find_spec(self, name, path=None, target=None):
        if name == NATIVE:
            # Registered under its last name only: built-in modules have no package.
            return importlib.util.spec_from_loader(name, NativeLoader())
        if name in self.sources:
            return importlib.util.spec_from_loader(name, self, origin=f"<{name}>")
        return None

    def is_package(self, name):
        return name == "rustwsgi"

    def get_source(self, name):
        return self.sources[name]

    def get_code(self, name):
        # Otherwise every module is "<string>" in a traceback.
        return self.source_to_code(self.sources[name], f"<{name}>")


class NativeLoader(importlib.abc.Loader):
    def create_module(self, spec):
        return importlib.import_module("_rustwsgi")

    def exec_module(self, module):
        pass


def install(sources):
    sys.meta_path.insert(0, Finder(sources))
