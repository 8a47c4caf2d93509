"""Finds the modules of the rustwsgi package inside the embedded binary.

Without the base classes of `importlib.abc`: its import takes longer than that of the package.
"""

import sys
from importlib.machinery import ModuleSpec

NATIVE = "rustwsgi._rustwsgi"


class Finder:
    def __init__(self, sources):
        self.sources = dict(sources)

    def find_spec(self, name, path=None, target=None):
        if name == NATIVE:
            # Registered under its last name only: built-in modules have no package.
            return ModuleSpec(name, NativeLoader())
        if name in self.sources:
            package = self.is_package(name)
            return ModuleSpec(name, self, origin=f"<{name}>", is_package=package)
        return None

    def is_package(self, name):
        return any(other.startswith(f"{name}.") for other in self.sources)

    def get_source(self, name):
        return self.sources[name]

    def get_code(self, name):
        # Otherwise every module is "<string>" in a traceback.
        return compile(self.sources[name], f"<{name}>", "exec", dont_inherit=True)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(self.get_code(module.__name__), module.__dict__)


class NativeLoader:
    def create_module(self, spec):
        return __import__("_rustwsgi")

    def exec_module(self, module):
        pass


def install(sources):
    sys.meta_path.insert(0, Finder(sources))
