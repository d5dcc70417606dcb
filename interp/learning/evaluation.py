"""What a model of the small language can do, as numbers whose right answer is known.

Three sorts of measures: accuracy on minimal pairs (the right words have more probability than
those of the tempting wrong rule), losses in nats beside the best possible ones, and the geometry
of the token embedding. N-gram models pass through the same functions, so that an ability can be
called by the shallowest model that has it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.core import HookedGPT, InputError
from interp.corpus import Language, TriggerTask, lexicon, prompts
from interp.corpus.prompts import MinimalPair, NgramCounts

Z_95 = 1.959964  # two-sided 95 % point of the normal distribution
COLUMNS = ["metric", "value", "unit", "better", "n", "ci_low", "ci_high"]
ROWS_AT_ONCE = 128

REFERENCES = (
    "best_loss",
    "repeat_loss_first",
    "repeat_loss_control",
    "long_repeat_loss_first",
    "long_repeat_loss_control",
    "neutral_direction",
    "analogy_nearest",
)
"""Rows that other rows are compared with; to do well on them is no ability."""

REPEATS = {"repeat_loss": 12, "long_repeat_loss": 16}
"""Length of the repeated blocks, in tokens, by the start of the metric's name. Blocks of up to 12
occur in training, so that a single layer can learn their periods by position and profit from them;
16 never occurs, and only a model that finds the earlier occurrence itself can use it."""

PairSet = Callable[[int, int], list[MinimalPair]]


def _set(function: Callable[..., list[MinimalPair]], **options: object) -> PairSet:
    return lambda n, seed: function(n, seed, **options)


# A sentence before pronouns and facts gives enough different prompts: without one there are 208
# subjects and verbs, and 14 held-out pairs of entity and template.
PAIR_SETS: dict[str, PairSet] = {
    "agreement": _set(prompts.agreement),
    "agreement_attractor_1": _set(prompts.agreement, attractors=1),
    "agreement_attractor_2": _set(prompts.agreement, attractors=2),
    "agreement_attractor_3": _set(prompts.agreement, attractors=3),
    "temper": _set(prompts.temper),
    "pronoun": _set(prompts.pronoun, distractor=False, context=1),
    "pronoun_distractor": _set(prompts.pronoun, distractor=True, context=1),
    "reflexive": _set(prompts.reflexive, context=1),
    "sense": _set(prompts.sense),
    "sense_distractor": _set(prompts.sense, distractor=True),
    "facts": _set(prompts.facts, context=1),
    "facts_held_out": _set(prompts.facts, held_out=True, context=1),
    "two_hop": _set(prompts.two_hop, context=1),
    "two_hop_held_out": _set(prompts.two_hop, held_out=True, context=1),
    "indirect_objects": _set(prompts.indirect_objects),
    "indirect_objects_3_names": _set(prompts.indirect_objects, n_names=3),
    "indirect_objects_receiver": _set(prompts.indirect_objects, extra="receiver"),
}
"""Minimal pairs by metric: a function of number and seed. `agreement_attractor_2` has two nouns
of the other number between head and verb; in `indirect_objects_receiver` the receiver is named
once more, so that the name said least often is the wrong one."""


@runtime_checkable
class NextToken(Protocol):
    """What is scored: anything that gives a probability to every next token."""

    def losses(self, tokens: Int[np.ndarray, "batch pos"]) -> Float[np.ndarray, "batch target"]:
        """Nats of every token but the first."""

    def probabilities(self, rows: Sequence[Sequence[int]]) -> Float[np.ndarray, "row d_vocab"]:
        """Next-token probabilities after each row."""


@dataclass(frozen=True)
class ModelPredictions:
    """A GPT's predictions; its weights stay where they are."""

    model: HookedGPT

    @torch.no_grad()
    def losses(self, tokens: Int[np.ndarray, "batch pos"]) -> Float[np.ndarray, "batch target"]:
        """Nats of every token but the first."""
        parts = [
            self.model.loss(self._tensor(tokens[start : start + ROWS_AT_ONCE]), per_token=True)
            for start in range(0, len(tokens), ROWS_AT_ONCE)
        ]
        return torch.cat(parts).double().cpu().numpy()

    @torch.no_grad()
    def probabilities(self, rows: Sequence[Sequence[int]]) -> Float[np.ndarray, "row d_vocab"]:
        """Next-token probabilities after each row; rows of one length run together, unpadded."""
        result = np.zeros((len(rows), self.model.config.d_vocab))
        lengths = np.array([len(row) for row in rows])
        for length in np.unique(lengths):
            same = np.flatnonzero(lengths == length)
            for start in range(0, len(same), ROWS_AT_ONCE):
                index = same[start : start + ROWS_AT_ONCE]
                tokens = self._tensor(np.array([rows[i] for i in index]))
                logits = self.model(tokens, logits_at=-1)[:, 0]
                result[index] = logits.double().softmax(-1).cpu().numpy()
        return result

    def _tensor(self, tokens: Int[np.ndarray, "batch pos"]) -> Int[Tensor, "batch pos"]:
        return torch.as_tensor(tokens, device=self.model.W_E.device)


@dataclass(frozen=True)
class NgramPredictions:
    """What the last `order - 1` tokens say: the shallowest control of all.

    Attributes:
        counts: of a sampled text, from `interp.corpus.prompts.ngram_counts`.
        order: 1 (unigram) or 2 (bigram).
    """

    counts: NgramCounts
    order: int

    def __post_init__(self) -> None:
        if self.order not in (1, 2):
            raise InputError(f"there are n-grams of order 1 and 2; got order={self.order}")

    def losses(self, tokens: Int[np.ndarray, "batch pos"]) -> Float[np.ndarray, "batch target"]:
        """Nats of every token but the first."""
        rows = self._rows(tokens[:, :-1])
        return -np.log(np.take_along_axis(rows, tokens[:, 1:, None], axis=-1)[..., 0])

    def probabilities(self, rows: Sequence[Sequence[int]]) -> Float[np.ndarray, "row d_vocab"]:
        """Next-token probabilities after each row."""
        return self._rows(np.array([row[-1] for row in rows]))

    def _rows(self, lasts: Int[np.ndarray, "..."]) -> Float[np.ndarray, "... d_vocab"]:
        table = {
            last: self.counts.probabilities(None if self.order == 1 else last)
            for last in np.unique(lasts).tolist()
        }
        return np.stack([table[last] for last in lasts.ravel().tolist()]).reshape(*lasts.shape, -1)


@dataclass(frozen=True)
class Suite:
    """Everything that `run` scores, sampled once: prompts, windows and their best losses.

    Attributes:
        pairs: minimal pairs by metric.
        windows: held-out windows; int64 [batch pos].
        best: exact loss of the best possible model on them, nats; [batch pos-1].
        blocks: random blocks shown twice, by the start of the metric's name (`REPEATS`).
    """

    pairs: dict[str, list[MinimalPair]]
    windows: Int[np.ndarray, "batch pos"]
    best: Float[np.ndarray, "batch target"]
    blocks: dict[str, prompts.RepeatedBlocks]

    @classmethod
    def sample(cls, language: Language, *, n: int = 200, seed: int = 0, n_ctx: int = 64) -> "Suite":
        """Sample the sets from streams that training never reads.

        Args:
            language: the small language.
            n: prompts per set of minimal pairs, windows, and repeated blocks.
            seed: of all of them.
            n_ctx: context of the models that will be scored.

        Raises:
            InputError: if `n` is below 2, which gives no interval, or larger than a set has
                different prompts.

        Cost: about 1 s for n=60 and 4 s for n=200, most of it for three attractors.
        """
        if n < 2:
            raise InputError(f"an interval needs at least 2 prompts; got n={n}")
        windows = language.batch(seed, n, n_ctx + 1, namespace="evaluation")
        return cls(
            {name: make(n, seed) for name, make in PAIR_SETS.items()},
            windows,
            np.stack([-language.log_probs(window) for window in windows]),
            {name: prompts.repeated_blocks(n, k, seed) for name, k in REPEATS.items()},
        )

    def run(self, scored: NextToken) -> pd.DataFrame:
        """One row per metric: `metric`, `value`, `unit`, `better`, `n`, `ci_low`, `ci_high`.

        `value` is an accuracy (unit "share"; chance is 1/2 where two words compete, and a fact must
        outweigh eleven rivals together) or a loss (unit "nats"); `better` says which direction
        is better, "higher" or "lower", and nothing for `REFERENCES`. Accuracies have Wilson
        intervals, losses normal ones over windows, both 95 %; they hold for further prompts of
        the same sort, not for further words.
        """
        return pd.DataFrame([*self._losses(scored), *self._accuracies(scored)], columns=COLUMNS)

    def _losses(self, scored: NextToken) -> Iterator[tuple]:
        """Held-out loss, its gap to the best possible, and the copies of repeated blocks."""
        losses = scored.losses(self.windows)
        yield _loss_row("loss", losses.mean(axis=1))
        yield _loss_row("best_loss", self.best.mean(axis=1))
        yield _loss_row("loss_gap", (losses - self.best).mean(axis=1))
        for name, blocks in self.blocks.items():
            repeated, control = scored.losses(blocks.tokens), scored.losses(blocks.control)
            first, second = (
                slice(copy.start - 1, copy.stop - 1) for copy in (blocks.first, blocks.second)
            )
            yield _loss_row(f"{name}_first", repeated[:, first].mean(axis=1))
            yield _loss_row(f"{name}_second", repeated[:, second].mean(axis=1))
            yield _loss_row(f"{name}_control", control[:, second].mean(axis=1))

    def _accuracies(self, scored: NextToken) -> Iterator[tuple]:
        every = [pair for pairs in self.pairs.values() for pair in pairs]
        probs, start = scored.probabilities([pair.prompt_ids for pair in every]), 0
        for name, pairs in self.pairs.items():
            share = prompts.accuracy(pairs, probs[start : start + len(pairs)])
            yield _share_row(name, share, len(pairs))
            start += len(pairs)


def evaluation_table(
    model: HookedGPT, language: Language, *, n: int = 200, seed: int = 0
) -> pd.DataFrame:
    """Every metric of a model with its interval: `Suite.run` and `embedding_metrics`.

    Args:
        model: a model of the small language.
        language: the language.
        n: prompts per metric.
        seed: of the prompts.

    Returns:
        Columns as in `Suite.run`.

    Raises:
        InputError: if the model has another vocabulary.

    Cost: about 6 s for n=200 and the small model on one thread, most of it for sampling.
    """
    _check_vocabulary(model, language)
    suite = Suite.sample(language, n=n, seed=seed, n_ctx=model.config.n_ctx)
    return pd.concat(
        [suite.run(ModelPredictions(model)), embedding_metrics(model)], ignore_index=True
    )


def evaluate(
    model: HookedGPT, language: Language, *, n: int = 200, seed: int = 0
) -> dict[str, float]:
    """The values of `evaluation_table` by metric."""
    return as_dict(evaluation_table(model, language, n=n, seed=seed))


def quick_evaluation(
    language: Language, n_ctx: int, *, n: int = 48, seed: int = 1
) -> Callable[[HookedGPT], dict[str, float]]:
    """An evaluation for use during training: sets sampled once, then under a second a call.

    The seed differs from `evaluate`'s, so that nobody chooses a checkpoint on the prompts that
    the final numbers come from.
    """
    suite = Suite.sample(language, n=n, seed=seed, n_ctx=n_ctx)

    def run(model: HookedGPT) -> dict[str, float]:
        return as_dict(suite.run(ModelPredictions(model))) | as_dict(embedding_metrics(model))

    return run


def shallowest_control(table: pd.DataFrame, controls: dict[str, pd.DataFrame]) -> pd.Series:
    """For each metric the first control that does as well as the model, up to the model's error.

    Args:
        table: a model's metrics.
        controls: tables of simpler models, the shallowest first.

    Returns:
        One entry per metric: the name of the first control whose value lies within or beyond
        the model's interval in the better direction; "" where none does, and for `REFERENCES`.
    """

    def first(row: pd.Series) -> str:
        if not row["better"]:
            return ""
        for name, control in controls.items():
            values = control.loc[control["metric"] == row["metric"], "value"]
            if values.empty:
                continue
            value = values.iloc[0]
            if value >= row["ci_low"] if row["better"] == "higher" else value <= row["ci_high"]:
                return name
        return ""

    return pd.Series([first(row) for _, row in table.iterrows()], index=table["metric"])


def as_dict(table: pd.DataFrame) -> dict[str, float]:
    """Metric -> value."""
    return dict(zip(table["metric"], table["value"].astype(float), strict=True))


# --- the token embedding ---


def embedding_metrics(model: HookedGPT) -> pd.DataFrame:
    """Geometry of the gendered word pairs in `W_E`; columns as in `Suite.run`.

    - `gender_direction`: share of gendered nouns on the right side of the direction that the
      *other* pairs give (see `leave_one_out_direction`);
    - `gender_direction_within_pair`: share of pairs in the right order along it;
    - `neutral_direction`: the same as the first for neutral nouns of the same roles, whose
      contexts are alike: chance, 1/2, is right;
    - `analogy`: share of `a : b = c : ?` answered by the nearest word to `b - a + c` among all
      others than a, b and c; `analogy_all_words` leaves these three in;
    - `analogy_nearest`: share where the nearest word to `c` is already the answer. Where this is
      as high as `analogy`, the offset has explained nothing.

    The 182 analogies share 14 pairs, so their intervals are too narrow.
    """
    ids = Language().tokenizer.ids
    W_E = model.W_E.detach().double().cpu().numpy()
    gendered = W_E[[[ids[word] for word in pair] for pair in lexicon.GENDER_PAIRS]]
    neutral = W_E[[[ids[word] for word in pair] for pair in lexicon.NEUTRAL_PAIRS]]
    members, within = leave_one_out_direction(gendered)
    null, _ = leave_one_out_direction(neutral)
    quadruples = np.array([[ids[w] for w in words] for words in prompts.analogy_quadruples()])
    words = np.arange(len(ids))[[not word.startswith("<") for word in ids]]
    rows = [
        _share_row("gender_direction", members.mean(), members.size),
        _share_row("gender_direction_within_pair", within.mean(), within.size),
        _share_row("neutral_direction", null.mean(), null.size),
    ]
    for name, right in analogies(W_E, quadruples, words).items():
        rows.append(_share_row(name, right.mean(), right.size))
    return pd.DataFrame(rows, columns=COLUMNS)


def leave_one_out_direction(
    pairs: Float[np.ndarray, "pair 2 d_model"],
) -> tuple[Float[np.ndarray, "pair 2"], Float[np.ndarray, " pair"]]:
    """Does the direction that all other pairs give place a pair's own members?

    For each pair, the direction is the mean difference of the others, and the threshold the
    projection of their mean; a common offset of all vectors changes nothing.

    Args:
        pairs: vectors of the first and the second kind of word.

    Returns:
        For each member 1 where it lies on its side of the threshold, and for each pair 1 where
        its first member lies further along the direction than its second.
    """
    members, within = [], []
    for i, (one, two) in enumerate(pairs):
        others = np.delete(pairs, i, axis=0)
        direction = (others[:, 0] - others[:, 1]).mean(axis=0)
        threshold = others.mean(axis=(0, 1)) @ direction
        members.append([one @ direction > threshold, two @ direction < threshold])
        within.append((one - two) @ direction > 0)
    return np.array(members, dtype=float), np.array(within, dtype=float)


def analogies(
    W_E: Float[np.ndarray, "d_vocab d_model"],
    quadruples: Int[np.ndarray, "analogy 4"],
    words: Int[np.ndarray, " word"],
) -> dict[str, Float[np.ndarray, " analogy"]]:
    """Which analogies `a : b = c : d` the offset `b - a` solves, by cosine.

    Args:
        W_E: one vector per token.
        quadruples: ids of a, b, c, d.
        words: ids among which the answer is sought.

    Returns:
        Per metric (see `embedding_metrics`) 1 where d comes first, else 0.

    Source: 3CosAdd of Mikolov et al. 2013; the two controls after Linzen 2016, "Issues in
    evaluating semantic spaces using word analogies".
    """
    unit = W_E / np.linalg.norm(W_E, axis=1, keepdims=True)
    a, b, c, d = quadruples.T
    allowed = np.full((len(quadruples), len(W_E)), -np.inf)
    allowed[:, words] = 0.0
    others = allowed.copy()
    np.put_along_axis(others, quadruples[:, :3], -np.inf, axis=1)
    # The cosine's other factor, the length of the target, does not change the order.
    near_offset, near_c = (unit[b] - unit[a] + unit[c]) @ unit.T, unit[c] @ unit.T
    return {
        "analogy": ((near_offset + others).argmax(axis=1) == d).astype(float),
        "analogy_all_words": ((near_offset + allowed).argmax(axis=1) == d).astype(float),
        "analogy_nearest": ((near_c + others).argmax(axis=1) == d).astype(float),
    }


# --- the trigger task ---


@dataclass(frozen=True)
class TriggerEvaluation:
    """Losses on the trigger task, for use during training.

    Attributes:
        task: the task.
        n: windows.
        seed: of the windows; training draws from other generators.
    """

    task: TriggerTask
    n: int = 256
    seed: int = 0

    @torch.no_grad()
    def __call__(self, model: HookedGPT) -> dict[str, float]:
        """`predictable_loss` and `other_loss` in nats, and `predictable_accuracy`."""
        rng = np.random.default_rng([self.seed, self.n, 7_001])
        batch = self.task.batch(rng, self.n, self.task.n_ctx + 1)
        tokens = torch.as_tensor(batch.tokens, device=model.W_E.device)
        logits = model(tokens[:, :-1]).double()
        log_probs = logits.log_softmax(-1)
        losses = -log_probs.gather(-1, tokens[:, 1:, None])[..., 0].cpu().numpy()
        right = (logits.argmax(-1) == tokens[:, 1:]).cpu().numpy()
        predictable = batch.predictable[:, 1:]
        return {
            "predictable_loss": float(losses[predictable].mean()),
            "other_loss": float(losses[~predictable].mean()),
            "predictable_accuracy": float(right[predictable].mean()),
        }


# --- intervals ---


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """95 % interval of a share.

    Args:
        share: observed, 0 to 1.
        n: number of trials.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    spread = Z_95**2 / n
    centre = (share + spread / 2) / (1 + spread)
    half = Z_95 * np.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    # At 0 and 1 the exact bound is the share itself; rounding would leave it just outside.
    return (
        0.0 if share == 0 else float(centre - half),
        1.0 if share == 1 else float(centre + half),
    )


def _share_row(name: str, share: float, n: int) -> tuple:
    return (name, float(share), "share", _better(name, "higher"), n, *wilson_interval(share, n))


def _loss_row(name: str, losses: Float[np.ndarray, " window"]) -> tuple:
    mean, n = float(losses.mean()), len(losses)
    half = Z_95 * float(losses.std(ddof=1)) / np.sqrt(n)
    return (name, mean, "nats", _better(name, "lower"), n, mean - half, mean + half)


def _better(name: str, direction: str) -> str:
    return "" if name in REFERENCES else direction


def _check_vocabulary(model: HookedGPT, language: Language) -> None:
    d_vocab = language.tokenizer.vocab_size
    if model.config.d_vocab != d_vocab:
        raise InputError(
            f"the language has {d_vocab} words, but {model.name} has d_vocab="
            f"{model.config.d_vocab}; these metrics are for models of the small language"
        )
