from itertools import combinations, product

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from interp import measures
from interp.core import InputError
from interp.measures import WordUses
from interp.measures.context_similarity import MIN_PROMPTS
from interp.measures.word_classes import RIDGE

LAYERS, WIDTH = 2, 5


def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


# --------------------------------------------------------------------------------- in general


def general(seed=0):
    rng = np.random.default_rng(seed)
    words, prompts = rng.integers(0, 4, 61), rng.integers(0, 7, 61)
    words[:3] = 9  # too rare to count
    prompts[:3] = [0, 1, 2]
    return rng.normal(size=(LAYERS, 61, WIDTH)) + 0.7, words, prompts


def test_self_similarity_and_baseline_are_means_over_pairs():
    """Oracle: a loop over pairs of uses, as the paper defines it."""
    vectors, words, prompts = general()
    by_layer, by_word = measures.context_specificity(vectors, words, prompts, 99)
    for layer in range(LAYERS):
        v, own, between = vectors[layer], [], {}
        for word in range(4):
            uses = np.flatnonzero(words == word)
            pairs = [(i, j) for i, j in combinations(uses, 2) if prompts[i] != prompts[j]]
            own.append(np.mean([cosine(v[i], v[j]) for i, j in pairs]))
            for other in range(word + 1, 4):
                every = product(uses, np.flatnonzero(words == other))
                between[word, other] = np.mean([cosine(v[i], v[j]) for i, j in every])
        row = by_layer.iloc[layer]
        assert row["self_similarity"] == pytest.approx(np.mean(own), abs=1e-12)
        assert row["baseline"] == pytest.approx(np.mean(list(between.values())), abs=1e-12)
        assert row["adjusted"] == pytest.approx(row["self_similarity"] - row["baseline"])
        assert row["ci_low"] < row["adjusted"] < row["ci_high"]
        assert row["n_words"] == 4
        here = by_word[by_word["layer"] == layer]
        assert here["self_similarity"].to_numpy() == pytest.approx(own, abs=1e-12)
        assert here["n_prompts"].tolist() == [len(set(prompts[words == w])) for w in range(4)]


def test_a_shared_direction_raises_both_and_not_their_difference():
    rng = np.random.default_rng(1)
    words, prompts = np.tile(np.arange(20), 6), np.repeat(np.arange(6), 20)
    vectors = rng.normal(size=(1, 120, 64))
    far = vectors + 30 * np.eye(64)[0]
    plain, shifted = (
        measures.context_specificity(v, words, prompts, 99)[0].iloc[0] for v in (vectors, far)
    )
    assert plain["baseline"] == pytest.approx(0, abs=0.02)
    assert shifted["baseline"] > 0.9 and shifted["self_similarity"] > 0.9
    assert shifted["adjusted"] == pytest.approx(0, abs=0.02)


def test_the_interval_of_specificity_covers_what_other_words_would_give():
    """Words whose own similarity is 0 or 1 by turns: the interval is that of a share."""
    words, prompts = np.tile(np.arange(40), 5), np.repeat(np.arange(5), 40)
    rng = np.random.default_rng(2)
    fixed, fresh = rng.normal(size=(40, 400)), rng.normal(size=(200, 400))
    vectors = np.where((words % 2 == 0)[:, None], fixed[words], fresh)[None]
    row = measures.context_specificity(vectors, words, prompts, 999)[0].iloc[0]
    half = 1.96 * np.sqrt(0.25 / 40)
    assert row["adjusted"] == pytest.approx(0.5, abs=0.02)
    assert row["ci_high"] - row["ci_low"] == pytest.approx(2 * half, rel=0.2)


def test_too_few_words_are_refused():
    words, prompts = np.repeat([1, 2], [MIN_PROMPTS, MIN_PROMPTS - 1]), np.arange(7)
    with pytest.raises(InputError, match="only 1 words"):
        measures.context_specificity(np.ones((1, 7, 3)), words, prompts)


def test_steps_of_blocks_by_hand():
    vectors = np.array(
        [[[3.0, 4.0], [1.0, 0.0]], [[3.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [2.0, 1.0]]]
    )
    frame = measures.layer_changes(vectors, np.array([5, 8]), 99)
    assert frame["step"].tolist() == pytest.approx([(4 / 5 + 1) / 2, (1 + 1 / np.sqrt(2)) / 2])
    assert frame["cosine_to_start"].tolist() == pytest.approx(
        [(3 / 5 + 1 / np.sqrt(2)) / 2, (0 + 2 / np.sqrt(5)) / 2]
    )
    assert frame["share"].tolist() == pytest.approx([(4 / 7 + 1 / 2) / 2, (3 / 7 + 1 / 2) / 2])
    assert frame["n"].tolist() == [2, 2]


def test_each_prompt_weighs_the_same_however_many_uses_it_has():
    vectors = np.array([[[1.0], [1.0], [1.0]], [[2.0], [2.0], [5.0]]])
    frame = measures.layer_changes(vectors, np.array([0, 0, 1]), 99)
    assert frame["step"].tolist() == pytest.approx([(1 + 4) / 2])


# -------------------------------------------------------------------------------------- senses


def uses_of(words, senses, cues):
    n = len(words)
    return WordUses(((1, 2),) * n, (1,) * n, tuple(words), tuple(senses), tuple(cues))


def some_uses(seed=3):
    rng = np.random.default_rng(seed)
    words = ["a"] * 11 + ["b"] * 7
    senses = list(rng.permutation(list("xxxxxyyyyzz"))) + list(rng.permutation(list("xxxyyyy")))
    cues = [f"{s}{rng.integers(2)}" for s in senses]
    return uses_of(words, senses, cues), rng.normal(size=(LAYERS, 18, WIDTH))


def test_separation_is_the_share_of_comparisons_won():
    """Oracle: all comparisons of every use, one at a time."""
    uses, vectors = some_uses()
    cells = measures.sense_separation(vectors, uses).set_index(["layer", "word", "sense", "cue"])
    expected = {}
    for layer, word in product(range(LAYERS), "ab"):
        own = [i for i in range(18) if uses.words[i] == word]
        by_sense = {
            s: np.mean([vectors[layer, i] for i in own if uses.senses[i] == s], axis=0)
            for s in {uses.senses[i] for i in own}
        }
        middle = np.mean(list(by_sense.values()), axis=0)
        for i in own:
            same = [
                j for j in own if uses.senses[j] == uses.senses[i] and uses.cues[j] != uses.cues[i]
            ]
            other = [j for j in own if uses.senses[j] != uses.senses[i]]
            if not same:
                continue
            near = {j: cosine(*(vectors[layer, k] - middle for k in (i, j))) for j in own if j != i}
            won = np.mean([near[s] > near[o] for s, o in product(same, other)])
            key = (layer, word, uses.senses[i], uses.cues[i])
            means = np.mean([near[s] for s in same]), np.mean([near[o] for o in other])
            expected.setdefault(key, []).append((won, *means))
    assert set(cells.index) == set(expected)
    for key, rows in expected.items():
        assert cells.loc[key, ["auc", "same", "different"]].tolist() == pytest.approx(
            np.mean(rows, axis=0).tolist(), abs=1e-12
        )
        assert cells.loc[key, "n_uses"] == len(rows)


def test_a_shared_cue_wins_nothing():
    """Vectors that know the cue alone: 0.5, although uses of one cue are identical."""
    rng = np.random.default_rng(4)
    cues = [f"{sense}{n}" for sense in "xy" for n in range(30) for _ in range(2)]
    table = {cue: rng.normal(size=50) for cue in cues}
    uses = uses_of(["a"] * 120, [cue[0] for cue in cues], cues)
    cells = measures.sense_separation(np.array([table[cue] for cue in cues])[None], uses)
    assert cells["auc"].mean() == pytest.approx(0.5, abs=0.05)


def test_vectors_that_know_the_sense_win_everything_and_equal_ones_half():
    uses, _ = some_uses()
    known = np.array([[float(s == t) for t in "xyz"] for s in uses.senses])[None]
    assert (measures.sense_separation(known, uses)["auc"] == 1).all()
    assert (measures.sense_separation(np.ones((1, 18, 3)), uses)["auc"] == 0.5).all()


def test_separation_by_layer_is_over_cues():
    uses, vectors = some_uses()
    cells = measures.sense_separation(vectors, uses)
    frame = measures.separation_by_layer(cells, 99)
    for layer in range(LAYERS):
        here = cells.loc[cells["layer"] == layer, "auc"]
        assert frame["auc"].iloc[layer] == pytest.approx(here.mean())
        assert frame["n"].iloc[layer] == len(here)
        assert frame["ci_low"].iloc[layer] < here.mean() < frame["ci_high"].iloc[layer]


def test_halves_of_one_sense_are_parted_by_the_alphabet():
    cues = ["d", "a", "c", "b", "a", "e", "f"]
    uses = uses_of(["w"] * 7, ["x"] * 5 + ["y"] * 2, cues)
    relabelled, kept = measures.same_sense_halves(uses)
    assert kept.tolist() == [0, 1, 2, 3, 4]  # sense y has two cues only
    assert relabelled.senses == ("second", "first", "second", "first", "first")
    assert set(relabelled.words) == {"w: x"}
    with pytest.raises(InputError, match="four cues"):
        measures.same_sense_halves(uses.only([5, 6]))


def test_a_single_sense_cannot_be_separated():
    with pytest.raises(InputError, match="another sense"):
        measures.sense_separation(np.ones((1, 2, 3)), uses_of("aa", "xx", "pq"))


def test_vectors_must_fit_the_uses():
    with pytest.raises(InputError, match="3 vectors"):
        measures.sense_separation(np.ones((1, 3, 3)), uses_of("aa", "xy", "pq"))


def test_profile_is_the_cosine_with_each_senses_mean():
    rng = np.random.default_rng(5)
    examples, vectors = rng.normal(size=(LAYERS, 2, WIDTH)), rng.normal(size=(LAYERS, 6, WIDTH))
    senses = list("xyxxyz")
    frame = measures.sense_profile(examples, ["one", "two"], vectors, senses)
    frame = frame.set_index(["layer", "example", "sense"])
    means = {s: vectors[1][[i for i in range(6) if senses[i] == s]].mean(axis=0) for s in "xyz"}
    middle = (means["x"] + means["y"] + means["z"]) / 3
    row = frame.loc[(1, "two", "y")]
    assert row["cosine"] == pytest.approx(cosine(examples[1, 1] - middle, means["y"] - middle))
    assert row["plain_cosine"] == pytest.approx(cosine(examples[1, 1], means["y"]))


# ------------------------------------------------------------------------------------ pictures


def test_pictures_report_the_space_before_projection():
    rng = np.random.default_rng(6)
    labels = list("aaaaabbbbbbb")
    vectors = rng.normal(size=(12, 7)) + 4 * np.array([[label == "a"] * 7 for label in labels])
    points, facts = measures.pictures(vectors, labels, 0)
    same = [cosine(vectors[i], vectors[j]) for i, j in combinations(range(12), 2)
            if labels[i] == labels[j]]  # fmt: skip
    other = [cosine(vectors[i], vectors[j]) for i, j in combinations(range(12), 2)
             if labels[i] != labels[j]]  # fmt: skip
    assert facts["cosine_same"].tolist() == pytest.approx([np.mean(same)] * 2)
    assert facts["cosine_different"].tolist() == pytest.approx([np.mean(other)] * 2)
    centred = vectors - vectors.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    assert facts["kept"].iloc[0] == pytest.approx((s[:2] ** 2).sum() / (s**2).sum())
    pca = points[points["method"] == "PCA"]
    assert np.abs(pca["x"]).to_numpy() == pytest.approx(np.abs(u[:, 0] * s[0]))
    for method, row in zip(("PCA", "t-SNE"), facts.itertuples(), strict=True):
        of = points[points["method"] == method]
        places = of[["x", "y"]].to_numpy()
        for name, space in (("nearest_same", vectors), ("nearest_same_picture", places)):
            nearest = [
                min(
                    (j for j in range(12) if j != i),
                    key=lambda j: np.sum((space[i] - space[j]) ** 2),
                )
                for i in range(12)
            ]
            right = np.mean([labels[i] == labels[j] for i, j in enumerate(nearest)])
            assert getattr(row, name) == pytest.approx(right)


def test_a_picture_needs_points_and_labels():
    with pytest.raises(InputError, match="8 points"):
        measures.pictures(np.ones((7, 3)), list("aabbaab"))
    with pytest.raises(InputError, match="2 labels"):
        measures.pictures(np.ones((9, 3)), ["a"] * 9)


# ------------------------------------------------------------------------------------- classes


def classes(seed=7, spread=0.7):
    rng = np.random.default_rng(seed)
    labels = [f"c{i}" for i in range(5) for _ in range(3)]
    middle = rng.normal(size=(5, 11))
    return middle[[int(c[1]) for c in labels]] + spread * rng.normal(size=(15, 11)), labels


def test_judgements_match_loops_and_scikit_learn():
    vectors, labels = classes()
    frame = measures.class_judgements(vectors, labels, 19, 99).set_index("measure")
    centred = vectors - vectors.mean(axis=0)
    won = []
    for i in range(15):
        near = [cosine(centred[i], centred[j]) for j in range(15)]
        same = [j for j in range(15) if j != i and labels[j] == labels[i]]
        other = [j for j in range(15) if labels[j] != labels[i]]
        won.append(np.mean([near[s] > near[o] for s, o in product(same, other)]))
    assert frame.loc["intrinsic", "value"] == pytest.approx(np.mean(won))
    ridge = RIDGE * (np.linalg.svd(centred, compute_uv=False) ** 2).mean()
    names = sorted(set(labels))
    right = []
    for i in range(15):
        # The fit without word i, but with its centring: the closed form leaves a row out.
        keep = [j for j in range(15) if j != i]
        X = np.hstack([centred, np.ones((15, 1))])
        penalty = np.diag([ridge] * 11 + [0.0])
        Y = np.array([[label == name for name in names] for label in labels], float)
        beta = np.linalg.solve(X[keep].T @ X[keep] + penalty, X[keep].T @ Y[keep])
        right.append(names[int((X[i] @ beta).argmax())] == labels[i])
    assert frame.loc["extrinsic", "value"] == pytest.approx(np.mean(right))
    assert frame["n_words"].tolist() == [15, 15] and frame["n_classes"].tolist() == [5, 5]
    # The probe itself is scikit-learn's ridge regression.
    fitted = Ridge(alpha=ridge).fit(centred, Y).predict(centred)
    beta = np.linalg.solve(X.T @ X + penalty, X.T @ Y)
    assert np.abs(X @ beta - fitted).max() < 1e-9


def test_random_classes_give_chance():
    rng = np.random.default_rng(8)
    vectors, labels = rng.normal(size=(60, 30)), [f"c{i % 6}" for i in range(60)]
    frame = measures.class_judgements(vectors, labels, 99, 99).set_index("measure")
    assert frame.loc["intrinsic", "control"] == pytest.approx(0.5, abs=0.02)
    assert frame.loc["extrinsic", "control"] == pytest.approx(1 / 6, abs=0.06)
    assert (frame["p"] > 0.01).all()
    assert frame["selectivity"].to_numpy() == pytest.approx(
        (frame["value"] - frame["control"]).to_numpy()
    )


def test_true_classes_beat_the_control_with_the_least_p():
    frame = measures.class_judgements(*classes(spread=0.1), 19, 99)
    assert frame["p"].tolist() == [1 / 20, 1 / 20]
    assert (frame["value"] > frame["control_high"]).all()


@pytest.mark.parametrize("labels", [list("aab"), list("aaaa"), list("aabbc")])
def test_classes_that_are_none_are_refused(labels):
    with pytest.raises(InputError, match="2 classes of 2 words"):
        measures.class_judgements(np.eye(max(4, len(labels)))[:4], labels)
