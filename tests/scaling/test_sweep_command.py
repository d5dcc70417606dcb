"""`interp sweep` as it is called. Oracle: the studies and measures called directly."""

import json
import types

import pandas as pd
import pytest
import torch

import studies
from interp import cli
from interp.loading import load_model, weights_hash
from interp.measures import patching
from interp.reporting.results import Finding, Sentence, StudyResult, Table
from interp.scaling import read_table
from studies._sweep_measures import MEASURES

PAIRS = """clean,corrupted,correct,incorrect
the calm creature,the shy creature,sleeps,hides
the shy king was,the calm king was,proud,angry
the shy creature,the calm creature,hides,sleeps
"""


@pytest.fixture
def run(capsys):
    def call(*words):
        threads = torch.get_num_threads()
        code = cli.main(["sweep", *map(str, words)])
        torch.set_num_threads(threads)
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pairs.csv").write_text(PAIRS)
    (tmp_path / "plain.jsonl").write_text('{"prompt": "the calm creature"}\n{"prompt": "a"}\n')
    return tmp_path


def written(folder, text):
    path = folder / "sweep.toml"
    path.write_text(text)
    return path


ALL = """
models = ["small"]
measures = ["surprisal", "attention", "logit_lens", "logit_diff", "direct_attribution",
            "patch_residual", "patch_heads"]
prompts = ["pairs.csv"]
prompts_per_cell = {per_cell}
[options]
batch_size = {batch}
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """All measures on three pairs: two cells each."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "pairs.csv").write_text(PAIRS)
    path = written(folder, ALL.format(per_cell=2, batch=32))
    assert cli.main(["sweep", str(path), "--out", str(folder / "out"), "--device", "cpu"]) == 0
    return folder / "out"


def tokens_of(model, *texts):
    return model.to_tokens(list(texts))[0]


def test_every_measure_has_one_row_per_prompt_and_part(swept):
    sizes = {
        "surprisal": 3 + 4 + 3,
        "attention": 3 * 4 * 4,
        "logit_lens": 3 * 9,
        "logit_diff": 3,
        "patch_residual": 4 * (4 + 5 + 4),
        "patch_heads": 3 * 4 * 4,
    }
    for name, n in sizes.items():
        table = read_table(swept, name)
        assert len(table) == n, name
        assert sorted(set(table["prompt"])) == [0, 1, 2]
    whole = pd.read_parquet(swept)
    assert set(whole["weights"]) == {weights_hash(load_model("small"))}
    facts = [json.loads(line) for line in (swept / "_cells.jsonl").read_text().splitlines()]
    assert len(facts) == 14 and {fact["status"] for fact in facts} == {"done"}


def test_measures_say_what_the_model_says(swept):
    model = load_model("small")
    clean = tokens_of(model, "the shy king was")
    logits = model(clean).double()[0]
    surprisal = read_table(swept, "surprisal").query("prompt == 1")
    expected = -logits.log_softmax(-1)[:-1].gather(1, clean[0, 1:, None])[:, 0]
    assert surprisal["surprisal_nats"].tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    right, wrong = (model.tokenizer.encode(word, bos=False)[0] for word in ("proud", "angry"))
    difference = float(logits[-1, right] - logits[-1, wrong])
    found = read_table(swept, "logit_diff").query("prompt == 1")
    assert found["clean"].item() == pytest.approx(difference, abs=1e-5)
    parts = read_table(swept, "direct_attribution").query("prompt == 1")
    assert parts["contribution"].sum() == pytest.approx(difference, abs=1e-4)
    pattern = model.run_with_cache(clean)[1]["pattern", 2][0].double()  # head query key
    heads = read_table(swept, "attention").query("prompt == 1 and layer == 2")
    for row in heads.itertuples():
        rows = [pattern[row.head, query, : query + 1] for query in range(1, len(clean[0]))]
        each = [[r[0], r[-2], r[-1], -(r * r.log()).nansum()] for r in rows]
        means = [sum(float(e[i]) for e in each) / len(each) for i in range(4)]
        assert [row.on_first, row.on_previous, row.on_itself, row.entropy_nats] == pytest.approx(
            means, abs=1e-5
        )


def test_patches_are_those_of_the_library(swept):
    model = load_model("small")
    pairs = patching.Pairs(tokens_of(model, "the calm creature", "the shy creature"),
                           tokens_of(model, "the shy creature", "the calm creature"))  # fmt: skip
    ids = {word: model.tokenizer.encode(word, bos=False)[0] for word in ("sleeps", "hides")}
    right = torch.tensor([ids["sleeps"], ids["hides"]])
    metric = patching.logit_diff(right, right.flip(0), position=3)
    frame = patching.patch_heads(model, pairs, [metric], per_prompt=True)
    expected = frame.assign(prompt=frame["prompt"] * 2).set_index(["prompt", "layer", "head"])
    found = read_table(swept, "patch_heads").query("prompt != 1")
    found = found.set_index(["prompt", "layer", "head"])["effect"]
    assert (found - expected["effect"]).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("per_cell", "batch", "threads"), [(1000, 1, 1), (1, 32, 1), (2, 32, 2), (2, 32, 3)]
)
def test_neither_cells_nor_batches_nor_threads_change_a_number(
    run, folder, swept, per_cell, batch, threads
):
    path = written(folder, ALL.format(per_cell=per_cell, batch=batch))
    assert run(path, "--out", folder / "out", "--device", "cpu", "--threads", threads)[0] == 0
    for name in ("surprisal", "attention", "logit_diff", "patch_residual", "patch_heads"):
        tables = [read_table(out, name).drop(columns="cell") for out in (swept, folder / "out")]
        keys = [key for key in ("prompt", "layer", "head", "pos") if key in tables[0]]
        one, other = (table.sort_values(keys, ignore_index=True) for table in tables)
        pd.testing.assert_frame_equal(one, other, check_exact=False, atol=1e-5, rtol=1e-4)


def test_a_study_is_in_the_dataset_as_it_reports(run, folder, monkeypatch):
    """A study made here, with one row of findings; another one that makes no sense."""

    def study(model, config, progress=None):
        if config.seed == 4:
            raise studies.NotApplicable("not with four")
        heads = pd.DataFrame({"layer": [0, 1], "score": [config.seed / 2, model.n_params / 1]})
        finding = Finding(7, "holds", "It holds.", value=0.5, unit="share", n=3)
        return StudyResult("temperature", "?", model.name, Sentence("yes"),
                           {"heads": Table(heads, "")}, (), (finding,), {})  # fmt: skip

    module = types.SimpleNamespace(Config=studies.StudyConfig, run=study)
    monkeypatch.setattr(studies, "load", lambda name: module)
    path = written(folder, 'models = ["small"]\nstudies = ["temperature"]\nseeds = [3, 4]\n')
    code, out, err = run(path, "--out", folder / "out", "--device", "cpu")
    assert (code, err) == (0, "")
    assert "1/2 temperature on small seed 3: done" in out
    assert "2/2 temperature on small seed 4: left out" in out and "not with four" in out
    heads = read_table(folder / "out", "temperature", "heads")
    assert heads["score"].tolist() == [1.5, load_model("small").n_params]
    findings = read_table(folder / "out", "temperature", "findings")
    assert findings[["claim", "verdict", "value", "n"]].values.tolist() == [[7, "holds", 0.5, 3]]
    assert findings["seed"].tolist() == [3]


def test_a_failing_cell_is_said_and_the_rest_goes_on(run, folder):
    (folder / "odd.csv").write_text(PAIRS.replace("king", "xyzzy"))
    text = 'models = ["small"]\nmeasures = ["logit_diff"]\nprompts = ["odd.csv", "pairs.csv"]\n'
    path = written(folder, text)
    code, out, err = run(path, "--out", folder / "out", "--device", "cpu")
    assert code == 1
    assert "2 cells: 1 done, 0 left out, 1 failed" in out
    assert "odd.csv, line 3" in err and "--retry-failed" in err and "Traceback" not in err
    assert run(path, "--out", folder / "out", "--device", "cpu")[0] == 1
    (folder / "odd.csv").write_text(PAIRS)
    assert run(path, "--out", folder / "out", "--device", "cpu")[0] == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('models = ["smal"]\nstudies = ["temperature"]', "did you mean small"),
        ('models = ["small"]\nmeasures = ["surprisal"]\nprompts = ["no.csv"]', "cannot be read"),
        (
            'models = ["small"]\nmeasures = ["logit_diff"]\nprompts = ["plain.jsonl"]',
            "logit_diff needs pairs",
        ),
        ('models = ["small"]\nstudies = ["verify"]', "studies names 'verify'"),
    ],
)
def test_a_wrong_sweep_writes_nothing(run, folder, text, says):
    code, out, err = run(written(folder, text), "--out", folder / "out")
    assert (code, out) == (2, "")
    assert says in err and err.count("\n") == 1
    assert not (folder / "out").exists()


def test_a_dry_run_says_what_it_would_cost_and_writes_nothing(run, folder):
    text = 'models = ["small"]\nmeasures = ["surprisal"]\nprompts = ["plain.jsonl"]\n'
    code, out, _ = run(
        written(folder, text), "--dry-run", "--out", folder / "out", "--device", "cpu"
    )
    assert code == 0
    assert "1 cells, 1 to do" in out
    # Two prompts of four and two tokens, so of three in the mean: by the formula of a pass.
    config = load_model("small").config
    per_layer = 2 * 12 * 128**2 + 4 * 128 * 3
    flops = 2 * 3 * (config.n_layers * per_layer + 2 * 128 * config.d_vocab)
    assert f"{flops / 1e6:.3g} MFLOP by formula" in out
    assert "timed now on at most 8 prompts" in out
    assert not (folder / "out").exists()


def test_a_dry_run_tells_drawn_models_apart_and_prints_any_path(run, folder):
    text = 'models = ["random:small-1l"]\nmeasures = ["surprisal"]\nprompts = ["plain.jsonl"]\n'
    path, out_folder = written(folder, text + "seeds = [3, 5]\n"), folder / "no text: \udcff"
    code, out, err = run(path, "--dry-run", "--out", out_folder, "--device", "cpu")
    assert (code, err) == (0, "")
    assert "no text: \\udcff; nothing is run" in out
    for seed in (3, 5):
        assert f"surprisal on random:small-1l (seed {seed}): 1 of 1 cells" in out


def test_as_many_values_are_kept_as_the_formula_says(swept):
    config, whole = load_model("small").config, pd.read_parquet(swept)
    for name, measure in MEASURES.items():
        options = measure.config()
        expected = sum(measure.values(config, n_pos, options) for n_pos in (4, 5, 4))
        assert (whole["name"] == name).sum() == expected, name
