"""Data flows one way: a folder of interp/ imports only from folders that sort before it."""

import ast
import importlib
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = sorted(
    p.name for p in (ROOT / "interp").iterdir() if p.is_dir() and (p / "__init__.py").exists()
)

# Packages that a layer must do without, so that it stays what it is.
FORBIDDEN = {
    "core": {"pandas", "matplotlib", "seaborn", "transformers", "transformer_lens"},
    "corpus": {"torch", "pandas", "matplotlib", "seaborn", "transformers", "transformer_lens"},
    "learning": {"matplotlib", "seaborn", "transformers", "transformer_lens"},
    "loading": {"matplotlib", "seaborn", "pandas"},
    "measures": {"matplotlib", "seaborn", "transformers", "transformer_lens"},
    "planted": {"matplotlib", "seaborn", "transformers", "transformer_lens"},
    "plots": {"torch", "transformers", "transformer_lens"},
    "reporting": {"torch", "transformers", "transformer_lens"},
}


def imported(path):
    """Every module that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_only_from_layers_above_it(layer):
    for path in (ROOT / "interp" / layer).rglob("*.py"):
        for module in imported(path):
            parts = module.split(".")
            if parts[0] == "interp" and len(parts) > 1 and parts[1] in LAYERS:
                assert parts[1] <= layer, f"{path.relative_to(ROOT)} imports {module}"
            assert parts[0] != "studies", f"{path.relative_to(ROOT)} imports {module}"
            assert module not in ("interp.cli", "interp.__main__"), path
            assert parts[0] not in FORBIDDEN.get(layer, ()), (
                f"{path.relative_to(ROOT)} imports {module}"
            )


def test_the_layers_are_those_of_the_design():
    known = [
        "core",
        "corpus",
        "learning",
        "loading",
        "measures",
        "planted",
        "plots",
        "reporting",
        "scaling",
    ]
    assert [layer for layer in known if layer in LAYERS] == LAYERS
    assert {"core", "corpus", "learning", "loading", "measures", "plots", "reporting"} <= set(
        LAYERS
    )


@pytest.mark.parametrize("layer", LAYERS)
def test_no_public_name_is_that_of_a_module(layer):
    """Importing the module would put it in the place of what the package offers by that name."""
    modules = {path.stem for path in (ROOT / "interp" / layer).glob("*.py")}
    assert set(importlib.import_module(f"interp.{layer}").__all__) & modules == set()


# Not needed to run: the first is an extra, the second comes with scikit-learn or is done without.
OPTIONAL = {"ray", "threadpoolctl"}


def test_every_imported_package_is_a_declared_dependency():
    """A package that only comes along with another one may be gone after its next release."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {plain(re.match(r"[\w.-]+", one)[0]) for one in project["dependencies"]}
    distributions, missing = packages_distributions(), set()
    for package in ("interp", "studies"):
        for path in (ROOT / package).rglob("*.py"):
            tops = {module.partition(".")[0] for module in imported(path)}
            for top in tops - sys.stdlib_module_names - OPTIONAL - {"interp", "studies"}:
                names = map(plain, distributions.get(top, [top]))
                missing |= set() if declared.intersection(names) else {top}
    assert missing == set()


def plain(name):
    """The one spelling of a distribution's name."""
    return re.sub(r"[-_.]+", "-", name).lower()
