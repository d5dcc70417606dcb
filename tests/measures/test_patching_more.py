"""Patching across lengths, by source, prompt by prompt: against one hooked pass per cell."""

import numpy as np
import pytest
import torch
from oracles.tiny import tiny_model, tiny_tokens

from interp.core import InputError
from interp.measures import patching
from interp.measures.attribution_patching import runs_of
from interp.measures.pairs import Pairs
from interp.measures.patching import logit_diff

CORRECT, INCORRECT = torch.tensor([1, 2, 3]), torch.tensor([4, 5, 6])
ALIGNED = {0: 0, 1: 1, 2: 2, 4: 3, 5: 5, 6: 6, 7: 8}  # clean 3 and corrupted 4 and 7 stand alone


def uneven_pairs():
    """Clean prompts of 8 tokens, corrupted ones of 9; alike up to position 1 or 2."""
    clean = tiny_tokens(3, 8)
    corrupted = tiny_tokens(3, 9, seed=3)
    corrupted[:, :2] = clean[:, :2]
    corrupted[:, 2:4] = (clean[:, 2:4] + 1) % 31
    corrupted[1, 2] = clean[1, 2]
    return Pairs(clean, corrupted, aligned=ALIGNED)


def runs(pairs, direction):
    """Patched and other prompts, and the partner of each position that has one."""
    if direction == "noise":
        return pairs.clean, pairs.corrupted, dict(ALIGNED)
    return pairs.corrupted, pairs.clean, {other: own for own, other in ALIGNED.items()}


def difference(logits, pos):
    row = torch.arange(len(logits))
    return (logits[row, pos, CORRECT] - logits[row, pos, INCORRECT]).numpy()


def hooked(model, tokens, name, change, pos):
    def hook(activation, point):
        change(activation)
        return activation

    return difference(model.run_with_hooks(tokens, [(name, hook)]), pos)


@pytest.mark.parametrize("changes", [{}, {"mask": "none"}], ids=str)
@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_aligned_residual_patches_take_the_partner_of_each_position(changes, direction):
    model, pairs = tiny_model(**changes), uneven_pairs()
    base, source, partner = runs(pairs, direction)
    end = 7 if direction == "noise" else 8
    _, cache = model.run_with_cache(source)
    own = difference(model(base), end)
    for site in ("resid_mid", "attn_out"):
        frame = patching.patch_residual(
            model, pairs, [logit_diff(CORRECT, INCORRECT, 7)], site=site, direction=direction
        )
        assert len(frame) == 3 * base.shape[1]
        for row in frame.itertuples():
            expected = own
            if row.pos in partner:
                name = f"blocks.{row.layer}.hook_{site}"

                def change(activation, name=name, pos=row.pos):
                    activation[:, pos] = cache[name][:, partner[pos]]

                expected = hooked(model, base, name, change, end)
            assert row.value == pytest.approx(expected.mean(), abs=1e-10)


@pytest.mark.parametrize("site", ["z", "q", "k", "v"])
@pytest.mark.parametrize("by_position", [False, True])
def test_aligned_heads_keep_their_own_values_where_nothing_corresponds(site, by_position):
    model, pairs = tiny_model(), uneven_pairs()
    base, source, partner = runs(pairs, "denoise")
    _, cache = model.run_with_cache(source)
    frame = patching.patch_heads(
        model,
        pairs,
        [logit_diff(CORRECT, INCORRECT, 7)],
        site=site,
        heads=[(0, 1), (1, 4), (2, 0)],
        by_position=by_position,
    )
    for row in frame.itertuples():
        name = f"blocks.{row.layer}.attn.hook_{site}"
        places = [row.pos] if by_position else range(9)

        def change(activation, name=name, places=places, head=row.head):
            for pos in places:
                if pos in partner:
                    activation[:, pos, head] = cache[name][:, partner[pos], head]

        expected = hooked(model, base, name, change, 8).mean()
        assert row.value == pytest.approx(expected, abs=1e-10)


def test_a_shifted_partner_counts_as_a_change_before_the_first_differing_token():
    """Same tokens, but the activation of position 2 is put at position 1, the other way at 2."""
    model, tokens = tiny_model(), tiny_tokens(3, 6)
    pairs = Pairs(tokens, tokens[:, :5], aligned={0: 0, 2: 1, 5: 4})
    assert pairs.first_changes("denoise").tolist() == [1, 1, 1]
    assert pairs.first_changes("noise").tolist() == [2, 2, 2]
    _, cache = model.run_with_cache(tokens)
    frame = patching.patch_residual(
        model, pairs, [logit_diff(CORRECT, INCORRECT, 5)], layers=[1], positions=[1]
    )

    def change(activation):
        activation[:, 1] = cache["resid_pre", 1][:, 2]

    expected = hooked(model, tokens[:, :5], "blocks.1.hook_resid_pre", change, 4).mean()
    assert frame["value"].item() == pytest.approx(expected, abs=1e-10)
    assert abs(frame["effect"].item()) > 1e-3


def test_aligned_paths_send_only_what_corresponds():
    model, pairs = tiny_model(), uneven_pairs()
    base, source, partner = runs(pairs, "denoise")
    _, cache = model.run_with_cache(source)
    _, own = model.run_with_cache(base)
    frame = patching.patch_paths(
        model, pairs, [logit_diff(CORRECT, INCORRECT, 7)], receivers="logits"
    )
    for row in frame.itertuples():
        sent = torch.zeros(3, 9, 7, dtype=torch.float64)
        for pos, other in partner.items():
            sent[:, pos] = (
                cache["z", row.layer][:, other, row.head] - own["z", row.layer][:, pos, row.head]
            )
        final = own["resid_post", 2] + sent @ model.blocks[row.layer].attn.W_O[row.head]
        expected = difference(model.logits(final), 8).mean()
        assert row.value == pytest.approx(expected, abs=1e-10)


def test_fractions_of_aligned_runs_compare_the_aligned_positions():
    model, pairs = tiny_model(), uneven_pairs()
    clean, corrupted = difference(model(pairs.clean), 7), difference(model(pairs.corrupted), 8)
    frame = patching.patch_residual(
        model, pairs, [logit_diff(CORRECT, INCORRECT, 7)], layers=[2], site="resid_post"
    ).set_index("pos")
    assert frame.loc[8, "value"] == pytest.approx(clean.mean(), abs=1e-10)
    assert frame.loc[8, "recovered_fraction"] == pytest.approx(1)
    assert frame.loc[7, "value"] == pytest.approx(corrupted.mean(), abs=1e-10)


@pytest.mark.parametrize("changes", [{}, {"mask": "none"}, {"mask": "window:3"}], ids=str)
@pytest.mark.parametrize("by_position", [False, True])
def test_pattern_columns_and_entries_equal_a_forward_pass_for_each(changes, by_position):
    model, clean = tiny_model(**changes), tiny_tokens(3, 5)
    corrupted = clean.clone()
    corrupted[:, 1] = (corrupted[:, 1] + 1) % 31
    corrupted[0, 2] = (corrupted[0, 2] + 1) % 31
    pairs = Pairs(clean, corrupted)
    _, cache = model.run_with_cache(clean)
    frame = patching.patch_heads(
        model,
        pairs,
        [logit_diff(CORRECT, INCORRECT, 4)],
        site="pattern",
        heads=[(0, 2), (2, 3)],
        by_position=by_position,
        by_source=True,
    )
    assert len(frame) == 2 * (25 if by_position else 5)
    assert not frame.duplicated(["layer", "head", "key_pos", *["pos"] * by_position]).any()
    for row in frame.itertuples():
        name = f"blocks.{row.layer}.attn.hook_pattern"
        query = row.pos if by_position else slice(None)

        def change(activation, name=name, at=(row.head, query, row.key_pos)):
            activation[(slice(None), *at)] = cache[name][(slice(None), *at)]

        expected = hooked(model, corrupted, name, change, 4).mean()
        assert row.value == pytest.approx(expected, abs=1e-10)
    assert frame["effect"].abs().max() > 1e-3


def even_pairs():
    clean = tiny_tokens(3, 6)
    corrupted = clean.clone()
    corrupted[:, 2] = (corrupted[:, 2] + 1) % 31
    return Pairs(clean, corrupted)


@pytest.mark.parametrize("sweep", ["patch_residual", "patch_heads", "patch_paths"])
def test_values_prompt_by_prompt_have_the_means_of_the_frame(sweep):
    model, pairs = tiny_model(), even_pairs()
    sweep, metrics = getattr(patching, sweep), [logit_diff(CORRECT, INCORRECT, 5)]
    means = sweep(model, pairs, metrics)
    single = sweep(model, pairs, metrics, per_prompt=True)
    assert len(single) == 3 * len(means) and single["kept"].all()
    for column in ("value", "effect"):
        by_cell = single[column].to_numpy().reshape(-1, 3).mean(1)
        assert by_cell == pytest.approx(means[column].to_numpy(), abs=1e-12)
    clean, corrupted = difference(model(pairs.clean), 5), difference(model(pairs.corrupted), 5)
    first = single.iloc[-3:]
    assert first["prompt"].tolist() == [0, 1, 2]
    assert first["clean"].to_numpy() == pytest.approx(clean)
    assert first["effect"].to_numpy() == pytest.approx(first["value"].to_numpy() - corrupted)
    fraction = (first["value"].to_numpy() - corrupted) / (clean - corrupted)
    told = np.abs(clean - corrupted) >= 0.1
    assert first["recovered_fraction"].to_numpy()[told] == pytest.approx(fraction[told])
    assert np.isnan(first["recovered_fraction"].to_numpy()[~told]).all()


def test_pairs_that_hardly_differ_are_left_out_and_counted():
    model, pairs = tiny_model(), even_pairs()
    clean, corrupted = difference(model(pairs.clean), 5), difference(model(pairs.corrupted), 5)
    gaps = np.abs(clean - corrupted)
    floor = float(np.sort(gaps)[0] + np.sort(gaps)[1]) / 2  # between the smallest and the next
    metrics = [logit_diff(CORRECT, INCORRECT, 5, min_difference=floor), logit_diff(
        CORRECT, INCORRECT, 5)]  # fmt: skip
    frame = patching.patch_heads(model, pairs, metrics, heads=[(1, 2)])
    single = patching.patch_heads(model, pairs, metrics[:1], heads=[(1, 2)], per_prompt=True)
    assert frame["n_dropped"].tolist() == [1, 0] and frame["n"].tolist() == [2, 3]
    assert single["kept"].tolist() == (gaps >= floor).tolist()
    kept = single.loc[single["kept"], "effect"].mean()
    assert frame["effect"].tolist() == pytest.approx([kept, single["effect"].mean()])
    with pytest.raises(InputError, match="none is left"):
        patching.patch_heads(
            model, pairs, [logit_diff(CORRECT, INCORRECT, 5, min_difference=1e3)], heads=[(1, 2)]
        )


SAME = torch.arange(12).reshape(2, 6)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Pairs(SAME, SAME[:, :5]), "or give `aligned`"),
        (lambda: Pairs(SAME, SAME[:, :5], aligned={0: 5}), "position 5 of the corrupted"),
        (lambda: Pairs(SAME, SAME[:, :5], aligned={6: 0}), "position 6 of the clean"),
        (lambda: Pairs(SAME, SAME[:, :5], aligned={1: 0, 2: 0}), "corrupted prompts twice"),
        (lambda: Pairs(SAME, SAME[:, :5], aligned={1: 1, 2: 2}), "as far as they are aligned"),
        (lambda: Pairs(SAME, SAME[:1, :5], aligned={1: 2}), "2 clean prompts came with 1"),
        (
            lambda: patching.patch_heads(
                tiny_model(), uneven_pairs(), [logit_diff(CORRECT, INCORRECT, 7)], site="pattern"
            ),
            "keys of its own prompt",
        ),
        (
            lambda: patching.patch_heads(
                tiny_model(), uneven_pairs(), [logit_diff(CORRECT, INCORRECT, 3)]
            ),
            "position 3 of the clean prompts",
        ),
        (
            lambda: patching.patch_heads(
                tiny_model(), even_pairs(), [logit_diff(CORRECT, INCORRECT, 5)], by_source=True
            ),
            "only the pattern has sources",
        ),
        (lambda: runs_of(tiny_model(), uneven_pairs(), "noise"), "without `aligned`"),
    ],
)
def test_wrong_calls_get_one_clear_sentence(call, says):
    with pytest.raises(InputError, match=says):
        call()
