"""The suite's list of runs, and what becomes of a run: finished, diverged, repeated, refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from interp.core import InputError, RunError
from interp.learning import train_suite
from interp.learning.checkpoints import newest_checkpoint
from interp.learning.train_suite import (
    EXPERIMENTS,
    SuiteRun,
    finished_model,
    suite_runs,
    train_run,
)
from studies import _train_suite, _train_suite_record


@pytest.fixture
def run(micro):
    return SuiteRun("made_up", "micro", replace(micro, name="made_up/micro-s5"))


# ------------------------------------------------------------------------------------ the list


def test_names_are_folders_and_each_is_there_once():
    runs = suite_runs()
    assert len({run.name for run in runs}) == len(runs)
    for run in runs:
        assert run.name == f"{run.experiment}/{run.variant}-s{run.recipe.seed}"
    assert {run.recipe.seed for run in runs} == {0, 1, 2}
    assert [run.recipe.seed for run in runs] == sorted(run.recipe.seed for run in runs)


def test_what_others_start_from_comes_before_them():
    seen = set()
    for run in suite_runs():
        assert run.recipe.start_from is None or run.recipe.start_from in seen
        seen.add(run.name)


def test_runs_of_an_experiment_differ_in_what_their_names_say():
    for experiment in EXPERIMENTS.values():
        recipes = [replace(r, name="", seed=0) for r in experiment.recipes(0).values()]
        assert len({json.dumps(r.to_dict()) for r in recipes}) == len(recipes)
        tokens = {r.n_steps * r.tokens_per_step for r in recipes}
        assert len(tokens) == 1, experiment.name  # all see as much text


def test_one_layer_has_as_many_weights_as_four():
    from interp.core import HookedGPT

    recipes = EXPERIMENTS["depth"].recipes(0)
    one, four = (
        HookedGPT(recipes[name].config, init=None).n_params
        for name in ("1-layer-as-many-weights", "4-layers")
    )
    assert abs(one - four) < 2 * 64 + 1  # a neuron more would be too many


def test_unknown_experiments_are_named():
    with pytest.raises(InputError, match="no experiment is called 'nonsense'; there are: base, "):
        suite_runs(("base", "nonsense"))


# -------------------------------------------------------------------------------------- a run


def test_a_run_that_is_done_is_not_done_again(run, tmp_path, monkeypatch):
    outcome = train_run(run, tmp_path)
    assert outcome == {"outcome": "finished", "detail": "", "steps": run.recipe.n_steps}
    monkeypatch.setattr(train_suite, "train", lambda *_, **__: pytest.fail("trained again"))
    assert train_run(run, tmp_path) == outcome


def test_another_recipe_in_the_folder_is_refused(run, tmp_path):
    train_run(run, tmp_path)
    other = replace(run, recipe=replace(run.recipe, lr=0.02))
    with pytest.raises(InputError, match=r"micro-s5 holds a run of another recipe"):
        train_run(other, tmp_path)


def test_a_run_that_stopped_goes_on_to_the_same_weights(run, tmp_path, monkeypatch):
    train_run(run, tmp_path / "whole")
    real = train_suite.train

    def stops(recipe, out, **options):
        # A first session that ends early: its checkpoint stays, and no outcome is written.
        def interrupt(name, done, total):
            if done == 30:
                raise RunError("stopped")

        return real(recipe, out, **options | {"progress": interrupt})

    monkeypatch.setattr(train_suite, "train", stops)
    with pytest.raises(RunError, match="stopped"):
        train_run(run, tmp_path / "parts")
    assert not (tmp_path / "parts" / run.name / "outcome.json").exists()
    monkeypatch.undo()
    train_run(run, tmp_path / "parts")
    whole, parts = (finished_model(tmp_path / name, run) for name in ("whole", "parts"))
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_run_that_diverges_is_recorded_and_keeps_its_last_good_checkpoint(run, tmp_path):
    """So high a rate makes the loss overflow some steps after the first checkpoint."""
    recipe = replace(
        run.recipe, lr=1e25, warmup=0, clip=1e30, checkpoint_every=1, log_every=1, eval_every=1
    )
    wild = replace(run, recipe=recipe)
    outcome = train_run(wild, tmp_path)
    assert outcome["outcome"] == "diverged"
    assert "training diverged at step" in outcome["detail"]
    assert 2 <= outcome["steps"] <= recipe.n_steps
    checkpoint = newest_checkpoint(tmp_path / wild.name / "checkpoints")
    assert checkpoint.step == outcome["steps"] - 1
    assert all(torch.isfinite(t).all() for t in checkpoint.tensors.values() if t.is_floating_point)
    known = json.loads((tmp_path / wild.name / "outcome.json").read_text())
    assert (known["outcome"], known["steps"]) == ("diverged", outcome["steps"])
    assert train_run(wild, tmp_path) == outcome  # and that is not tried again


def test_a_run_needs_what_it_starts_from(run, tmp_path):
    second = SuiteRun("second", "tuned", replace(run.recipe, name="second/tuned-s5",
                                                 start_from=run.name))  # fmt: skip
    with pytest.raises(InputError, match="holds no finished run; train made_up first"):
        train_run(second, tmp_path)
    train_run(run, tmp_path)
    assert train_run(second, tmp_path)["outcome"] == "finished"
    with pytest.raises(InputError, match="holds no finished run"):
        finished_model(tmp_path, replace(run, recipe=replace(run.recipe, name="no/such-s0")))


# ---------------------------------------------------------------------------------- the record


@pytest.mark.parametrize("jobs", [1, 2])
def test_all_runs_are_trained_and_recorded(run, tmp_path, monkeypatch, jobs):
    if jobs == 2:
        monkeypatch.setattr(_train_suite, "ProcessPoolExecutor", InThisProcess)
        monkeypatch.setattr(_train_suite, "as_completed", list)
    runs = [run, replace(run, recipe=replace(run.recipe, name="made_up/micro-s6", seed=6))]
    monkeypatch.setattr(train_suite, "suite_runs", lambda *_: runs)
    ended = list(_train_suite.train_all(tmp_path, (), 2, jobs))
    assert ended == [(one.name, "finished") for one in runs]
    log = pd.read_csv(tmp_path / run.name / "log.csv")
    assert {"predictable_loss", "best_previous_token", "best_induction_contrast"} <= set(log)


class InThisProcess:
    """A pool whose work is done when it is submitted."""

    def __init__(self, jobs, mp_context):
        assert jobs == 2

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def submit(self, function, *args):
        from concurrent.futures import Future

        done = Future()
        done.set_result(function(*args))
        return done


def test_nothing_finished_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(_train_suite_record, "RECORDED", tmp_path / "recorded")
    monkeypatch.setattr(_train_suite_record, "N_PROMPTS", 2)
    tables = _train_suite_record.record(tmp_path, "0123456")
    assert not len(tables["runs"])
    assert not (tmp_path / "recorded").exists()


RECORD = Path(_train_suite_record.RECORDED) / "suite_curves.csv"


def test_a_recorded_run_is_made_again(tmp_path, monkeypatch):
    """The first 50 steps of a recorded run, trained here, have the recorded rows.

    To four digits: other processors and versions of PyTorch round sums in another order.
    """
    (whole,) = [run for run in suite_runs(("trigger_depth",), 1) if run.variant == "1-layer"]
    start = replace(whole, recipe=replace(whole.recipe, n_steps=50))
    train_run(start, tmp_path, extra_metrics=_train_suite.extra_metrics(start))
    made = pd.read_csv(tmp_path / start.name / "log.csv").set_index("step")
    known = pd.read_csv(RECORD)
    known = known[(known["experiment"] == "trigger_depth") & (known["variant"] == "1-layer")]
    known = known[known["seed"] == 0].set_index("step")
    for column in ("train_loss", "grad_norm", "predictable_loss", "other_loss",
                   "best_previous_token"):  # fmt: skip
        for step in (0, 50):
            expected = known.loc[step, column]
            if np.isfinite(expected):
                assert made.loc[step, column] == pytest.approx(expected, rel=2e-4), (column, step)
    assert np.isfinite(known.loc[50, "train_loss"])
