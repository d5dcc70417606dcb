import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import studies
from interp import cli
from interp.core import GPTConfig, HookedGPT, RunError
from interp.corpus import Language
from interp.loading import save

ROOT = Path(__file__).parents[1]


def interp(*words, **options):
    """`python -m interp` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "interp", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        **options,
    )


@pytest.fixture
def run(capsys):
    """The command line within this process: exit code, stdout, stderr."""

    def call(*words):
        threads = torch.get_num_threads()
        code = cli.main([str(word) for word in words])
        torch.set_num_threads(threads)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    """A small random model of the language, as a directory."""
    tokenizer = Language().tokenizer
    config = GPTConfig(n_layers=2, d_model=14, n_heads=2, n_ctx=41, d_vocab=tokenizer.vocab_size)
    model = HookedGPT(config)
    model.name, model.tokenizer = "tiny", tokenizer
    return save(model, tmp_path_factory.mktemp("models") / "tiny")


def one_sentence(err):
    """An error is one line, and no traceback."""
    assert err.startswith("interp: error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err.removeprefix("interp: error: ").strip()


# ------------------------------------------------------------------------- what it says


def test_importing_interp_imports_nothing_heavy():
    code = (
        "import sys, interp; heavy = ('torch', 'numpy', 'pandas', 'matplotlib', 'scipy', 'tyro'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_public_names_are_there():
    import interp as package

    for name in package.__all__:
        assert getattr(package, name) is not None
        assert name in dir(package)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        package.nothing  # noqa: B018


def test_help_names_every_command_and_imports_no_pytorch():
    code = (
        "import sys; from interp.cli import main; code = main(['--help']); "
        "print(code, 'torch' in sys.modules, 'matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "0 False False"
    for command in ("list", "run", "report", "compare", "generate", "train"):
        assert re.search(rf"^[│ ]  [ •*-]*{command}  ", done.stdout, flags=re.M)


@pytest.mark.parametrize(
    "command",
    ["list", "run", "report", "compare", "generate", "probe", "train", "verify", "doctor"],
)
def test_every_option_has_help(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    text = re.sub(r"[│╭╮╰╯─]", " ", out)
    blocks = re.split(r"^ +(?=-{1,2}[a-zA-Z])", text, flags=re.M)[1:]
    assert len(blocks) >= 2
    for block in blocks:
        words = re.sub(r"\(default:.*?\)", "", block, flags=re.S).split("\n\n")[0].split()
        assert len(words) > 3, block


def test_a_study_has_its_own_help(run):
    code, out, _ = run("run", "head_roles", "--help")
    assert code == 0
    assert "usage: interp run head_roles" in out
    assert "Which attention heads have a role" in out
    assert {"--n-prompts", "--seed", "--model", "--out"} <= set(re.findall(r"--[\w-]+", out))


def test_list_shows_studies_models_and_recipes(run):
    code, out, err = run("list")
    assert (code, err) == (0, "")
    for name in (*studies.questions(), "gpt2-medium", "small-gpt2init", "trigger"):
        assert re.search(rf"^  {re.escape(name)} ", out, flags=re.M), name
    code, out, _ = run("list", "--json")
    assert json.loads(out)["studies"] == studies.questions()


def test_the_module_and_the_script_are_the_same_command():
    script = subprocess.run(
        [sys.executable, "studies/head_roles.py", "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    module = interp("run", "head_roles", "--help")
    assert (script.returncode, module.returncode) == (0, 0)
    assert script.stdout == module.stdout


# ------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "words, complaint",
    [
        ([], "one of {list, run, report, compare, generate, probe, train,"),
        (["lst"], "lst"),
        (["run"], "STUDY"),
        (["run", "heads"], "no study is called 'heads'"),
        (["run", "head_roles", "--nonsense", "3"], "--nonsense"),
        (["run", "head_roles", "--seed", "x"], "parsing --seed"),
        (["run", "head_roles", "--dtype", "int8"], "int8"),
        (["run", "head_roles", "--limit", "0"], "error: --limit starts at 1, but 0 was given"),
        (["report", "--seed", "-1"], "error: --seed starts at 0, but -1 was given"),
        (["train", "trigger", "--threads", "0"], "--threads starts at 1"),
        (["train"], "RECIPE"),
        (["train", "huge"], "no recipe is called 'huge'"),
        (["train-suite", "--only", "huge"], "no experiment is called 'huge'; there are: base"),
        (["train-suite", "--only", "huge", "--show"], "no experiment is called 'huge'"),
        (["train-suite", "--jobs", "0"], "--jobs starts at 1, but 0 was given"),
        (["train-suite", "--seeds", "0"], "--seeds starts at 1"),
        (["train-suite", "--out", "runs/none", "--record", "0123456"], "no folder with runs"),
        (["generate"], "PROMPT"),
        (["generate", "the king", "-m", "no/such", "--offline"], "no/such"),
        (["generate", "the king", "-m", "nonsense"], "nonsense"),
        (["generate", "the king", "--device", "abacus"], "device 'abacus' is none of auto, cpu"),
        (["generate", "the king", "--device", "cuda:99"], "no device 'cuda:99'"),
        (["generate", "the king", "--device", "mps"], "(mps) has no float64"),
    ],
)
def test_a_wrong_call_is_one_sentence_and_exit_code_2(run, words, complaint):
    code, out, err = run(*words)
    assert one_sentence(err)
    assert complaint.lower() in err.lower()
    # A model that is neither cached nor reachable is a failure, not a wrong call.
    assert (code, out) == (1 if "no/such" in words else 2, "")


def test_auto_takes_no_device_without_float64(monkeypatch):
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    for gpu, expected in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr("torch.cuda.is_available", lambda gpu=gpu: gpu)
        assert cli._device("auto") == expected


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_sentence_is_the_same_in_every_terminal(encoding):
    done = interp("train", env=os.environ | {"PYTHONIOENCODING": encoding})
    assert one_sentence(done.stderr).startswith("Missing from interp train: RECIPE")
    assert done.returncode == 2


def test_exit_codes_reach_the_shell():
    done = interp("run", "heads")
    assert done.returncode == 2
    one_sentence(done.stderr)


def test_a_failure_is_exit_code_1_and_debug_shows_where(run, monkeypatch):
    def fail(command):
        raise RunError("the disk\nis full")

    monkeypatch.setattr(cli, "_load", fail)
    code, _, err = run("generate", "the king")
    assert (code, one_sentence(err)) == (1, "the disk is full")
    with pytest.raises(RunError):
        cli.main(["generate", "the king", "--debug"])


def test_a_bug_is_named_and_says_how_to_see_more(run, monkeypatch):
    monkeypatch.setattr(cli, "_load", lambda command: 1 / 0)
    code, _, err = run("generate", "the king")
    assert code == 1
    assert "unexpected ZeroDivisionError: division by zero (--debug shows" in one_sentence(err)


def test_ctrl_c_is_clean(run, monkeypatch):
    def interrupted(command):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_load", interrupted)
    assert run("generate", "the king") == (130, "", "interp: interrupted\n")


def test_a_reader_that_stops_early_is_no_error():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "interp", "--help"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


# ----------------------------------------------------------------------------- commands


def test_generate_shows_the_tokens_it_read(run, model_dir):
    code, out, err = run(
        "generate", "The king", "-m", model_dir, "--max-new-tokens", 3, "--seed", 5
    )
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    assert first == "prompt tokens: [<bos>] [the] [king]"
    assert len(second.split()) == 3
    assert (
        run("generate", "The king", "-m", model_dir, "--max-new-tokens", 3, "--seed", 5)[1] == out
    )


def test_generate_as_json(run, model_dir):
    options = ["--temperature", 0, "--top-k", 5, "--json", "--max-new-tokens", 2]
    code, out, _ = run("generate", "the king", "-m", model_dir, *options)
    found = json.loads(out)
    assert code == 0
    assert found["prompt_tokens"] == ["<bos>", "the", "king"]
    assert len(found["continuation_ids"]) == 2
    words = Language().vocab
    assert found["continuation"].split() == [words[i] for i in found["continuation_ids"]]


def test_generate_names_an_unknown_word(run, model_dir):
    code, _, err = run("generate", "the kign", "-m", model_dir)
    assert code == 2
    assert "'kign'" in one_sentence(err)
    assert "king" in err


def test_run_writes_report_and_index(run, model_dir, tmp_path):
    words = ["run", "head_roles", "-m", model_dir, "--quick", "--limit", 24, "--out", tmp_path]
    code, out, err = run(*words, "--json")
    assert (code, err) == (0, "")
    (study,) = json.loads(out)
    assert study["study"] == "head_roles"
    assert [finding["claim"] for finding in study["findings"]] == [61, 62, 63, 103, 104, 105, 106]
    report = Path(study["report"])
    assert report == tmp_path / "tiny" / "head_roles" / "report.html"
    assert "Studies of" in (tmp_path / "tiny" / "index.html").read_text()
    provenance = json.loads((report.parent / "provenance.json").read_text())
    assert provenance["command"].startswith("interp run head_roles -m ")
    assert "--json" in provenance["command"]
    # The page is the same wherever it is written: its command names no output folder.
    assert f"interp run head_roles -m {model_dir} --limit 24 --quick" in report.read_text()
    assert str(tmp_path / "tiny") not in report.read_text()


def test_report_runs_every_study_and_goes_on_after_a_failure(run, model_dir, tmp_path, monkeypatch):
    from studies import head_roles

    real = studies.load

    class Broken:
        Config = studies.StudyConfig

        @staticmethod
        def run(model, config, progress=None):
            raise RunError("no luck")

    monkeypatch.setattr(studies, "questions", lambda: {"broken": "Why?", "head_roles": "Which?"})
    monkeypatch.setattr(studies, "load", lambda name: Broken if name == "broken" else head_roles)
    words = ["report", "-m", model_dir, "--quick", "--limit", 24, "--jobs", 1, "--out", tmp_path]
    code, out, err = run(*words)
    assert code == 1
    assert one_sentence(err) == "broken: no luck"
    assert "head_roles: " in out
    assert (tmp_path / "tiny" / "index.html").is_file()
    assert real("head_roles") is head_roles


def test_train_writes_a_model_that_loads(run, tmp_path):
    words = ["train", "trigger", "--out", tmp_path / "run", "--steps", 20]
    code, out, _ = run(*words)
    assert (code, out.strip()) == (0, str(tmp_path / "run" / "final"))
    header, *_, last = (tmp_path / "run" / "log.csv").read_text().splitlines()
    row = dict(zip(header.split(","), last.split(","), strict=True))
    assert row["step"] == "20"
    assert 0 < float(row["best_previous_token"]) < 1
    assert abs(float(row["best_induction_contrast"])) < 0.2
    before = {path: path.read_bytes() for path in (tmp_path / "run" / "final").iterdir()}
    assert run(*words)[0] == 0  # nothing is left to do
    assert {path: path.read_bytes() for path in (tmp_path / "run" / "final").iterdir()} == before
    code, _, err = run("generate", "x", "-m", tmp_path / "run" / "final")
    assert code == 2
    assert "has no tokenizer" in one_sentence(err)


def test_train_suite_lists_its_runs(run):
    code, out, err = run("train-suite", "--show", "--only", "sizes", "--seeds", 2)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "sizes: what more weights are worth on the same tokens",
        *(f"  sizes/{size}-s{seed}  1000 steps" for seed in (0, 1) for size in ("d32", "d128")),
    ]


def test_train_suite_trains_what_is_missing_and_records_it(run, tmp_path, monkeypatch):
    from interp.learning import RECIPES, train_suite
    from studies import _train_suite_record

    short = dataclasses.replace(RECIPES["trigger"], n_steps=4, log_every=2, eval_every=2)
    made = train_suite.Experiment("short", "of no use", lambda seed: {"run": short})
    monkeypatch.setitem(train_suite.EXPERIMENTS, "short", made)
    monkeypatch.setattr(_train_suite_record, "RECORDED", tmp_path / "recorded")
    monkeypatch.setattr(_train_suite_record, "N_PROMPTS", 8)
    words = ["train-suite", "--only", "short", "--seeds", 1, "--out", tmp_path]
    assert run(*words)[:2] == (0, "short/run-s0: finished\n")
    log = tmp_path / "short" / "run-s0" / "log.csv"
    before = log.read_bytes()
    assert run(*words)[:2] == (0, "short/run-s0: finished\n")
    assert log.read_bytes() == before
    real = train_suite.suite_runs
    monkeypatch.setattr(train_suite, "suite_runs", lambda only=(), n=3: real(("short",), n))
    code, out, _ = run(*words, "--record", "0123456")
    assert (code, out.startswith("1 runs recorded in ")) == (0, True)
    rows = (tmp_path / "recorded" / "suite_runs.csv").read_text().splitlines()
    row = dict(zip(rows[0].split(","), rows[1].split(","), strict=True))
    assert (row["variant"], row["steps"], row["commit"]) == ("run", "4", "0123456")


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "provenance.json"
    }


def test_a_report_again_is_the_same_and_compare_reads_it(run, model_dir, tmp_path, monkeypatch):
    """A real study, from the command line, twice: only the provenance differs."""
    monkeypatch.setattr(studies, "questions", lambda: {"head_roles": "Which?"})
    for name in ("a", "b"):
        words = ["report", "-m", model_dir, "--quick", "--limit", 24, "--out", tmp_path / name]
        assert run(*words)[0] == 0
    first, second = (files_of(tmp_path / name / "tiny") for name in ("a", "b"))
    assert first == second
    folders = [tmp_path / name / "tiny" for name in ("a", "b")]
    code, out, err = run("compare", *folders, "--out", tmp_path / "c")
    assert (code, err) == (0, "")
    said, path = out.splitlines()
    n_findings = len(json.loads(first["head_roles/findings.json"])["findings"])
    assert said == (
        f"{n_findings} of {n_findings} findings that both reports have get the same verdict"
    )
    assert Path(path).is_file()
    code, out, _ = run("compare", *folders, "--out", tmp_path / "c", "--json", "--lang", "ko")
    assert len(json.loads(out)["claims"]) == n_findings
    assert '<html lang="ko">' in Path(path).read_text()


def test_compare_says_what_is_no_report(run, tmp_path):
    code, out, err = run("compare", "small", "gpt3", "--out", tmp_path)
    assert (code, out) == (2, "")
    assert "small is neither a report folder nor a model with a report" in one_sentence(err)


def test_progress_is_drawn_on_a_terminal_and_only_there(monkeypatch, capsys):
    with cli._progress(True) as show:
        assert show is None  # a file or a pipe
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with cli._progress(False) as show:
        assert show is None  # not wanted
    with cli._progress(True) as show:
        show("head_roles: drawing", 1, 2)
        show("head_roles: drawing", 2, 2)
        show("head_roles: drawing", 0, 2)  # the same words again, for another study
    out, err = capsys.readouterr()
    assert out == ""
    assert "head_roles: drawing" in err
