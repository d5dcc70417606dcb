"""The bench itself: its counts by hand, the other detector against itself, and mutants."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from oracles.damage import full_disk, looks_whole

from interp import loading, measures, planted
from interp.core import GPTConfig, HookedGPT, InitScales
from interp.corpus import Language
from studies import _bench, verify

ROOT = Path(verify.__file__).parents[1]


# ------------------------------------------------------------------------------ counts by hand


def test_auroc_is_the_share_of_pairs_in_order():
    positive, negative = np.array([3.0, 1.0, 2.0]), np.array([0.0, 2.0])
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert _bench.auroc(positive, negative) == pytest.approx(np.mean(pairs))
    assert _bench.auroc(positive, negative[:0]) is None


def heads():
    """Six heads of one model: two plants of a, one of b, a decoy of a, and two others."""
    rows = [
        # role, head, strength, q, label, truth, trap, roles
        ("a", 0, 9.0, 0.001, True, "required", False, "a"),
        ("a", 1, 2.0, 0.020, False, "required", False, "a,b"),
        ("a", 2, 3.0, 0.030, True, "wrong", True, ""),
        ("a", 3, 0.1, 0.900, False, "wrong", False, "b"),
        ("a", 4, 0.2, 0.900, True, "allowed", False, ""),
        ("b", 0, 0.0, 0.900, False, "wrong", False, "a"),
        ("b", 1, 5.0, 0.001, True, "required", False, "a,b"),
        ("b", 3, 4.0, 0.001, True, "required", False, "b"),
        ("b", 2, 4.5, 0.001, True, "wrong", False, "a"),
    ]
    names = ["role", "head", "strength", "q", "label", "truth", "trap", "roles"]
    frame = pd.DataFrame(rows, columns=names)
    return frame.assign(case="A", model="m", layer=0, plant="p", part="x", alive=True)


def test_rates_by_role_are_counted_by_hand():
    table = _bench.by_role(heads()).set_index("role")
    a, b = table.loc["a"], table.loc["b"]
    assert (a["n_plants"], a["n_others"], a["n_decoys"]) == (2, 2, 1)
    assert a["auroc"] == pytest.approx(3 / 4)  # 9 beats both, 2 beats one of two
    assert a["recall"] == 0.5 and a["recall_q"] == 1.0
    assert a["false_labels"] == 1 and a["decoys_rejected"] == 0
    assert b["auroc"] == pytest.approx(3 / 4) and b["recall"] == 1.0


def test_destroyed_plants_are_counted_apart():
    frame = heads()
    frame.loc[1, "alive"] = False  # the plant of a that was not found
    apart = _bench.by_role(frame).set_index("role").loc["a"]
    assert (apart["n_plants"], apart["n_destroyed"], apart["recall"]) == (1, 1, 1.0)
    whole = _bench.by_role(frame, with_destroyed=True).set_index("role").loc["a"]
    assert (whole["n_plants"], whole["n_destroyed"], whole["recall"]) == (2, 1, 0.5)


def test_a_plant_is_destroyed_by_noise_alone():
    """Oracle: the key's own facts; nothing that a detector says."""
    case = _bench.Case("E", ("duplicate_token", "bos_sink"), "E", sigma=2.0)
    noisy, clean = case.build(), dataclasses.replace(case, tiers="A").build()
    assert _bench.destroyed(clean) == set()
    (head,) = noisy.key.find("duplicate_token")
    facts = [f for f in noisy.key.facts if isinstance(f, planted.AttentionFact) and f.head == head]
    left = [planted.measure(noisy, f) for f in facts if "#" not in f.prompts]
    assert max(left) < 0.2 and head in _bench.destroyed(noisy)


def test_confusion_is_counted_by_hand():
    table = _bench.confusion(heads())
    counts = {(row["is"], row["called"]): row["n"] for row in table.to_dict("records")}
    assert counts == {
        ("a", "a"): 1, ("no role", "a"): 1, ("a", "not found"): 1, ("b", "b"): 2, ("a", "b"): 1,
    }  # fmt: skip


def test_error_rates_are_counted_by_hand():
    runs = pd.DataFrame(
        {
            "kind": ["x"] * 6 + ["y"] * 2, "n_tests": 5, "labels": 0, "labels_strict": 0,
            "family_wise": [True] + [False] * 7, "discoveries": [2, 1] + [0] * 6,
            "largest": 0.5, "reject_zero": 0.25, "placebo_p": np.linspace(0.06, 0.94, 8),
        }
    )  # fmt: skip
    table = _bench.error_rates(runs).set_index("models")
    assert table.loc["x", "fwer_max_t"] == pytest.approx(1 / 6)
    assert table.loc["all", "fdr"] == pytest.approx(2 / 8)
    assert table.loc["all", "fwer_low"] < 1 / 8 < table.loc["all", "fwer_high"]
    assert table.loc["all", "ks_placebo_p"] > 0.9


def test_matched_sentences_have_the_same_distance():
    some = [[(9, 4)], [(9, 7)], [(9, 1)]]
    others = [[(5, 3)], [(8, 3)], [(6, 4)]]
    assert _bench._matched(some, others, 9) == [(0, 1), (1, 2)]


# ------------------------------------------------------------------- the detectors on the bench


@pytest.mark.parametrize(
    "tiers, seed, sizes",
    [("A", 0, {}), ("BC", 11, {"n_ctx": 23, "d_vocab": 37, "n_layers": 3, "d_head": 71})],
    ids=["clean", "other sizes, rotated under a norm"],
)
def test_clean_and_disguised_plants_are_all_found(tiers, seed, sizes):
    for recipes in (planted.TOKEN_PLANTS, _bench.WORDS):
        size = verify._fitting(recipes, sizes)
        case = _bench.Case(tiers, recipes, tiers, seed=seed, sizes=size)
        found = _bench.judged(case, 24, 5000, 199)
        table = _bench.by_role(found)
        assert (table["auroc"].dropna() == 1).all()
        assert (table["recall"].dropna() == 1).all()
        assert (table["false_labels"] == 0).all()
        assert (table["n_decoys"] == table["decoys_rejected"]).all()
        confused = _bench.confusion(found)
        assert (confused["is"] == confused["called"]).all()


def test_noise_among_distractors():
    case = _bench.Case("DE", planted.TOKEN_PLANTS, "DE", seed=3)
    table = _bench.by_role(_bench.judged(case, 24, 5000, 199))
    assert table["auroc"].min() >= 0.99 and table["recall"].min() >= 0.95


INDUCTION = measures.REGISTRY["induction"]


def broken(role, **changes):
    """The registry with one role measured wrongly."""
    roles = {**measures.REGISTRY}
    roles[role] = dataclasses.replace(roles[role], **changes)
    return roles


def naive_induction(scene, device):
    """Prefix matching as it is usually computed: without a control."""
    found = INDUCTION.cells(scene, device)
    if found is None:
        return None
    return dataclasses.replace(
        found, control=dataclasses.replace(found.control, weights=0 * found.control.weights)
    )


@pytest.mark.parametrize(
    "role, changes, recipes",
    [
        ("induction", {"cells": naive_induction, "needs": ()}, ("induction_k", "lag_decoys")),
        ("copying", {"smallest_effect": 0.2}, ("copy", "trap_rank_one")),
        ("bos_sink", {"cells": measures.REGISTRY["first_token"].cells},
         ("bos_sink", "position_sink")),
        ("position_sink", {"cells": measures.REGISTRY["first_token"].cells},
         ("bos_sink", "position_sink")),
    ],
    ids=["no control", "a third of the words is enough", "BOS never moved", "position 0 only"],
)  # fmt: skip
def test_naive_detectors_fall_for_the_traps(monkeypatch, role, changes, recipes):
    """Mutants: without its control, each role takes a decoy for the real thing."""
    from interp.measures import detectors, roles

    case = _bench.Case("A", recipes, "A")
    honest = _bench.judged(case, 24, 5000, 99)
    decoys = honest[honest["trap"] & (honest["role"] == role)]
    assert len(decoys) and not decoys["label"].any() and decoys["strength"].max() < 1
    wrong = broken(role, **changes)
    for module in (roles, detectors):
        monkeypatch.setattr(module, "REGISTRY", wrong)
    monkeypatch.setattr(roles, "ALL_ROLES", tuple(wrong.values()))
    monkeypatch.setattr(measures, "REGISTRY", wrong)
    mutant = _bench.judged(case, 24, 5000, 99)
    decoys = mutant[mutant["trap"] & (mutant["role"] == role)]
    assert decoys["strength"].max() > 1


# ------------------------------------------------------------------------------ nothing planted


def test_models_without_a_plant_get_few_labels_and_placebos_uniform_p():
    runs = pd.DataFrame(
        [_bench.no_plant(kind, seed, 24, 400) for kind in _bench.NULLS for seed in range(3)]
    )
    table = _bench.error_rates(runs).set_index("models")
    assert table.loc["random init", "labels"] == 0
    # With prompts enough, a test against exactly 0 rejects far too often: no contrast is 0.
    assert table.loc["all", "reject_zero"] > 0.07
    assert (runs["placebo_p"].dropna() > 0).all()


# ----------------------------------------------------------------------------------- answer keys


def test_answers_and_sweep_agree_on_a_plant():
    found = _bench.answers("agreement", "A")
    assert found["n_hold"] == found["n_facts"] > 20
    assert found["n_sweep"] == 9 and found["sweep_deviation"] < 1e-12


def test_the_lens_sees_the_answer_behind_the_writer_only():
    assert _bench.lens("induction_k") == {
        "recipe": "induction_k", "layer": 2, "before": 0.0, "behind": 1.0,
    }  # fmt: skip


# ---------------------------------------------------------------------------- the other detector


@pytest.fixture(scope="module")
def bridge(tmp_path_factory):
    """A random GPT-2 with the small language's tokenizer, as a live TransformerLens bridge."""
    from interp.loading.transformerlens import boot

    tokenizer = Language().tokenizer
    config = GPTConfig(
        n_layers=2, d_model=12, n_heads=3, n_ctx=29, d_vocab=tokenizer.vocab_size, d_mlp=17
    )
    init = InitScales(0.7, 0.5, 0.6, 0.4, 0.5)
    model = HookedGPT(config, seed=0, init=init).requires_grad_(False).eval()
    model.name, model.tokenizer = "tiny", tokenizer
    directory = tmp_path_factory.mktemp("bridge") / "tiny"
    loading.save(model, directory)
    return model, boot(directory, torch.float32)


@pytest.mark.parametrize("kind", _bench.TL_HEADS)
@pytest.mark.parametrize("excluding", [False, True])
def test_our_statement_of_detect_head_is_detect_head(bridge, kind, excluding):
    """Oracle: TransformerLens itself, on the same weights."""
    from transformer_lens.head_detector import detect_head

    model, theirs = bridge
    text = "the fluffy creature in the forest sleeps . the fluffy creature in the"
    words = [word for word in text.split() if word in Language().vocab]
    options = {"exclude_bos": excluding, "exclude_current_token": excluding}
    text = " ".join(words)
    expected = detect_head(theirs, text, kind, **options)
    tokens = theirs.to_tokens(text)[0]
    assert len(set(tokens.tolist())) < len(tokens)
    _, cache = model.run_with_cache(tokens[None], lambda n: n.endswith("hook_pattern"))
    for layer in range(2):
        pattern = cache["pattern", layer][0].double().numpy()
        ours = _bench.detect_head_formula(pattern, tokens.numpy(), kind, **options)
        assert np.allclose(ours, expected[layer].numpy(), atol=1e-5)


def test_detect_head_cannot_tell_induction_from_a_fixed_lag():
    case = _bench.Case("A", ("induction_k", "lag_decoys"), "A")
    ours = _bench.judged(case, 24, 5000, 99)
    table = _bench.side_by_side(case, 4, ours)
    table = table[table["role"] == "induction"].set_index("detector")
    assert table.loc["detect_head", "strongest_decoy"] >= table.loc["detect_head", "weakest_plant"]
    mine = table.loc["ours (contrast / smallest effect)"]
    assert mine["strongest_decoy"] < 1 < mine["weakest_plant"]


# ----------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def small_result():
    """The whole command on a few cases: one seed, few null models, in this process."""
    patch = pytest.MonkeyPatch()
    patch.setattr(verify, "CLEAN", ("A",))
    patch.setattr(verify, "NOISY", ("E",))
    patch.setattr(verify, "FURTHER", ())
    patch.setattr(verify, "SIGMAS", (2.0,))
    patch.setattr(verify, "LENS", ("copy",))
    patch.setattr(verify, "_recipes", lambda: ("copy", "erasure_pair"))
    config = verify.Config(jobs=1, n_null=2)
    yield verify.run(config), config
    patch.undo()


def test_bars_and_tables(small_result):
    result, _ = small_result
    assert set(result.tables) == set(verify.CAPTIONS)
    assert list(result.bars) == ["bar", "demanded", "measured", "reached"]
    reached = result.bars.set_index("bar")["reached"]
    assert reached[[bar for bar in reached.index if "tiers" in bar]].all()
    assert result.passed == bool(reached.all())
    assert set(result.tables["power"]["case"]) == {"sigma 2.0"}


def test_a_missed_bar_is_told(small_result):
    result, _ = small_result
    tables = dict(result.tables)
    tables["by_role"] = tables["by_role"].assign(auroc=0.98)
    bars = verify._bars(tables).set_index("bar")["reached"]
    assert not bars["tiers A to C: AUROC of every role"]
    assert not bars["tiers E and DE: AUROC of every role"]
    missed = dataclasses.replace(result, bars=verify._bars(tables))
    assert not missed.passed and "NOT every bar" in verify.text(missed)


SPOILT = {
    "tiers A to C: AUROC of every role": ("by_role", {"auroc": 0.999}),
    "tiers A to C: recall of every role": ("by_role", {"recall": 0.9}),
    "tiers A to C: decoys mistaken": ("by_role", {"decoys_rejected": -1}),
    "tiers E and DE: recall of every role": ("by_role", {"recall": 0.94}),
    "family-wise error of max-T": ("no_plant", {"fwer_max_t": 0.2, "fwer_low": 0.06}),
    "false-discovery rate": ("no_plant", {"fdr": 0.2, "fdr_low": 0.06}),
    "p of uniformity": ("no_plant", {"ks_placebo_p": 0.04}),
    "answer keys: facts that do not hold": ("answers", {"n_hold": 0}),
    "ablation sweep against whole runs": ("answers", {"sweep_deviation": 1e-6}),
    "lens: answers above rivals before": ("lens", {"before": 0.1}),
    "lens: answers above rivals behind": ("lens", {"behind": 0.9}),
    "tiers A to C: confused or missed": ("confusion", {"is": "induction", "called": "not found"}),
}


@pytest.mark.parametrize("bar", SPOILT)
def test_each_bar_can_be_missed_by_its_own_number(small_result, bar):
    """Only the bars that read the spoilt number fall, and the named one is among them."""
    result, _ = small_result
    table, changes = SPOILT[bar]
    spoilt = verify._bars(result.tables | {table: result.tables[table].assign(**changes)})
    fallen = result.bars["reached"] & ~spoilt["reached"]
    assert spoilt["bar"].str.contains(bar, regex=False)[fallen].any()
    assert fallen.sum() <= 2


def test_progress_is_a_line_for_each_stage_where_there_is_no_terminal(capsys):
    say = verify._Said()
    for done in (1, 2, 3):
        say("plants", done, 3)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("plants: 3 of 3, ")


def test_what_is_written(small_result, tmp_path):
    result, config = small_result
    folder = verify.write(result, dataclasses.replace(config, out=tmp_path / "bench"))
    names = {file.name for file in folder.iterdir()}
    assert names == {f"{name}.csv" for name in (*verify.CAPTIONS, "bars")} | {"verify.json"}
    facts = json.loads((folder / "verify.json").read_text())
    assert facts["passed"] == result.passed and facts["options"]["seed"] == 0
    table = pd.read_csv(folder / "by_role.csv")
    assert len(table) == len(result.tables["by_role"])
    assert "tiers A to C" in verify.text(result)


def test_options_make_other_models():
    config = verify.Config(seed=5, n_ctx=23, d_vocab=37, n_seeds=2)
    cases = verify._cases(config)
    assert {case.seed for case in cases} == {5, 6}
    assert {case.sizes["n_ctx"] for case in cases} == {23}
    full = verify._cases(verify.Config(full=True))
    assert len(full) > 3 * len(verify._cases(verify.Config()))


def test_help_comes_without_the_models():
    done = subprocess.run(
        [sys.executable, "studies/verify.py", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and "--full" in done.stdout


def test_a_full_disk_leaves_no_verdict_and_no_link_is_followed(tmp_path):
    bars = pd.DataFrame({"bar": ["x"], "reached": [True]})
    result = verify.Result({"by_role": pd.DataFrame({"n": range(300)})}, bars, seconds=1.0)
    config = verify.Config(out=tmp_path / "out")
    (tmp_path / "mine").write_text("years")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "bars.csv").symlink_to(tmp_path / "mine")
    assert (verify.write(result, config) / "verify.json").is_file()
    assert (tmp_path / "mine").read_text() == "years"
    with full_disk(100), pytest.raises(OSError, match="too large"):
        verify.write(result, config)
    assert not looks_whole(tmp_path)
