"""Recipes: everything that decides what a training run will give.

Two runs of one recipe on one machine and thread count give the same weights, bit for bit.
"""

from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal

from interp.core import GPTConfig, InitScales, InputError
from interp.corpus import Language, TriggerTask

LANGUAGE_STEPS = 5_000
"""Steps of every language model, 2,048 tokens each; one number, so that they stay comparable."""


@dataclass(frozen=True)
class Recipe:
    """What to train, on what, and how.

    The optimiser is AdamW (Loshchilov & Hutter 2019). The learning rate rises in a straight
    line to `lr` over `warmup` steps; after that it falls along half a cosine to
    `final_lr_fraction * lr` at the last step, or stays ("constant").

    Attributes:
        name: what the model is called.
        config: its shape.
        init: how large its first weights are.
        task: "language" (`interp.corpus.Language`), "cloze" (the same text with words hidden, to be
            found at their own positions) or "trigger" (`interp.corpus.TriggerTask`).
        n_steps: weight updates.
        batch_size: windows per step, of `config.n_ctx` predictions each.
        lr: peak learning rate.
        warmup: steps until the peak.
        schedule: "cosine" or "constant".
        final_lr_fraction: share of `lr` that is left at the last step of "cosine".
        betas: decay of AdamW's first and second moment.
        adam_eps: added to the root of the second moment.
        weight_decay: on matrices, embeddings among them; never on biases and norms.
        clip: largest gradient norm; a longer gradient is shortened to it.
        seed: of the first weights and of the data.
        log_every: steps between rows of the log.
        eval_every: steps between evaluations, which add columns to their rows.
        checkpoint_every: steps between checkpoints: what a killed run may lose.
        n_windows: train on this many windows again and again; None: no window comes twice.
        relabelled: seed of an exchange of the language's content words (`relabelling`), None for
            the language as it is.
        start_from: name of the recipe whose trained weights this one starts from.
    """

    name: str
    config: GPTConfig
    init: InitScales = field(default_factory=InitScales)
    task: Literal["language", "cloze", "trigger"] = "language"
    n_steps: int = LANGUAGE_STEPS
    batch_size: int = 32
    lr: float = 2e-3
    warmup: int = 200
    schedule: Literal["cosine", "constant"] = "cosine"
    final_lr_fraction: float = 0.1
    betas: tuple[float, float] = (0.9, 0.98)
    adam_eps: float = 1e-8
    weight_decay: float = 0.1
    clip: float = 1.0
    seed: int = 0
    log_every: int = 20
    eval_every: int = 100
    checkpoint_every: int = 200
    n_windows: int | None = None
    relabelled: int | None = None
    start_from: str | None = None

    TASKS: ClassVar[tuple[str, ...]] = ("language", "cloze", "trigger")

    def __post_init__(self) -> None:
        for name in ("n_steps", "batch_size", "log_every", "eval_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} starts at 1; got {getattr(self, name)}")
        for name in ("lr", "clip", "adam_eps"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be positive; got {getattr(self, name)}")
        if self.task not in self.TASKS:
            raise InputError(f"task is {' or '.join(self.TASKS)}; got {self.task!r}")
        if self.n_windows is not None and self.n_windows < 1:
            raise InputError(f"n_windows starts at 1; got {self.n_windows}")
        if self.relabelled is not None and self.task != "language":
            raise InputError(f"relabelled is for the task language, not {self.task}")
        if self.n_windows is not None and self.task == "trigger":
            raise InputError("n_windows is for text; the trigger task makes new windows always")
        if self.schedule not in ("cosine", "constant"):
            raise InputError(f"schedule is cosine or constant; got {self.schedule!r}")
        if self.warmup < 0 or self.weight_decay < 0 or self.seed < 0:
            raise InputError(
                "warmup, weight_decay and seed must not be negative; got "
                f"{self.warmup}, {self.weight_decay} and {self.seed}"
            )
        if self.eval_every % self.log_every:
            raise InputError(
                f"an evaluation fills columns of a log row, so eval_every={self.eval_every} must "
                f"be a multiple of log_every={self.log_every}"
            )

    @property
    def tokens_per_step(self) -> int:
        """Predictions per step."""
        return self.batch_size * self.config.n_ctx

    def to_dict(self) -> dict[str, Any]:
        """The recipe as nested dictionaries of JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Recipe":
        """The recipe that `to_dict` described.

        Raises:
            KeyError, TypeError: a field is missing, unknown or of another kind.
            InputError: a field holds what no recipe can.
        """
        config, init = GPTConfig.from_dict(values["config"]), InitScales(**values["init"])
        betas = tuple(values["betas"])  # JSON has lists only
        recipe = cls(**{**values, "config": config, "init": init, "betas": betas})
        if not isinstance(recipe.name, str):
            raise TypeError(f"a name is a text, not {recipe.name!r:.80}")
        for number in (recipe.n_steps, recipe.batch_size, recipe.log_every, recipe.eval_every):
            if type(number) is not int:
                raise TypeError(f"{number!r:.80} is no number of steps or windows")
        return recipe


# Larger queries and keys make one crisp previous-token head and induction head; positions much
# larger than tokens would keep induction from forming, and larger tokens would blur the geometry
# of the embedding. GPT-2's own scales reach the same loss with a diffuse circuit.
CRISP = InitScales(token=0.04, position=0.06, qkv=0.088)
GPT2 = InitScales()

HEAD_COUNTS = (1, 2, 4, 8, 16)
"""Heads per layer of the models that differ in nothing else."""


def head_count_recipe(n_heads: int, seed: int = 0) -> Recipe:
    """`small` with another number of heads of the same total width, on fewer tokens.

    2,000 steps (4.1 M tokens): `small` finds its induction heads between 1.5 and 4 M tokens. All
    head counts see the same windows, and start from scores of the same size, whose spread at
    the start does not depend on `d_head`.

    Args:
        n_heads: heads per layer; a divisor of `d_model`.
        seed: of the first weights and of the data.
    """
    small = RECIPES["small"]
    return replace(
        small,
        name=f"small-{n_heads}-heads-s{seed}",
        config=replace(small.config, n_heads=n_heads, d_head=None),
        n_steps=2_000,
        seed=seed,
        eval_every=200,
    )


def _recipes() -> dict[str, Recipe]:
    d_vocab = Language().tokenizer.vocab_size
    shape = GPTConfig(n_layers=4, d_model=128, n_heads=4, n_ctx=64, d_vocab=d_vocab)
    task = TriggerTask()
    small = Recipe(name="small", config=shape, init=CRISP)
    trigger = Recipe(
        name="trigger",
        config=GPTConfig(
            n_layers=2,
            d_model=64,
            n_heads=4,
            n_ctx=task.n_ctx,
            d_vocab=task.d_vocab,
            d_mlp=0,
            tied=False,
        ),
        init=InitScales(token=0.3, position=0.3, qkv=0.12),
        task="trigger",
        n_steps=2_000,
        batch_size=64,
        warmup=0,
        schedule="constant",
        weight_decay=0.01,
        eval_every=100,
        checkpoint_every=500,
    )
    every = (
        small,
        replace(small, name="small-s1", seed=1),
        replace(small, name="small-s2", seed=2),
        replace(small, name="small-gpt2init", init=GPT2),
        replace(small, name="small-1l", config=replace(shape, n_layers=1)),
        trigger,
    )
    return {recipe.name: recipe for recipe in every}


RECIPES: dict[str, Recipe] = _recipes()
"""`small` and its two other seeds, its twin with GPT-2's init, its single-layer control, and the
44 k-parameter model of the trigger task (attention only, for tests and the phase change)."""
