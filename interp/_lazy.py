"""Public names that load on first use, for the packages of this library.

`import interp` and `interp --help` must not wait for PyTorch, pandas or matplotlib, so a package
says where each of its names lives, and the module is imported when somebody asks for the name.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


def lazy(
    package: str, home: dict[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package (PEP 562).

    Args:
        package: the package's `__name__`.
        home: its public names, each with the module that defines it: a name inside the package, or
            a full one.
    """

    def __getattr__(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = home[name] if home[name].startswith("interp.") else f"{package}.{home[name]}"
        value = getattr(import_module(module), name)
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home})

    return __getattr__, __dir__, sorted(home)
