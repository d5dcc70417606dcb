import ast
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

import studies
from interp.core import InputError

FOLDER = Path(studies.__file__).parent


def test_every_study_asks_a_question():
    found = studies.questions()
    assert "head_roles" in found
    assert all(question.endswith("?") for question in found.values())


@pytest.mark.parametrize("name", studies.questions())
def test_every_study_has_a_config_and_a_run(name):
    study = studies.load(name)
    assert issubclass(study.Config, studies.StudyConfig)
    assert dataclasses.is_dataclass(study.Config)
    assert study.Config.__dataclass_params__.frozen
    assert callable(study.run)


@pytest.mark.parametrize("name", studies.questions())
def test_every_option_is_documented(name):
    """tyro reads the string under a field; an option without one has no help."""
    for file in (FOLDER / "__init__.py", FOLDER / f"{name}.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.ClassDef) or not node.name.endswith("Config"):
                continue
            for field, doc in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(field, ast.AnnAssign):
                    assert isinstance(doc, ast.Expr), f"{file.name}: {field.target.id}"


def test_no_study_hides_a_module():
    """`python studies/x.py` puts the folder first on the path."""
    others = set(sys.stdlib_module_names) | {"torch", "numpy", "interp", "corpus"}
    assert not {path.stem for path in FOLDER.glob("*.py")} & others


def test_unknown_studies_are_named():
    with pytest.raises(InputError, match=r"no study is called 'heads'; there are: .*head_roles"):
        studies.load("heads")


def test_options_are_read_without_pytorch():
    code = (
        "import sys, studies; studies.load('head_roles').Config; "
        "print([m for m in ('torch', 'scipy', 'seaborn', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=FOLDER.parent, check=True
    )
    assert done.stdout.strip() == "[]"
