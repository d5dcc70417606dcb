"""A board on which circuits are laid out: named parts of the residual stream, heads, neurons.

A recipe allocates spaces, embeds tokens and positions in them, places heads, and writes down what
each head must do. `Board.build` turns the board into a `HookedGPT` and an answer key.

A head's attention score is a sum of matches. `Match(14, {T: A}, {S: B})` adds
`14 * (x_T A) . (x_S B)` to the score of query x and key y; its weights are
`W_Q = g A`, `W_K = g B` with `g = sqrt(14 * sqrt(d_head))`, in head dimensions of its own. A head's
output is a sum of moves: `Move({T: A}, {O: B})` writes `x_T A B` into O.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.core import GPTConfig, HookedGPT, InputError
from interp.corpus import WordTokenizer
from interp.planted.answers import AnswerKey, Edge, Fact, Family, Head, HeadAnswer, LensFact
from interp.planted.codes import position_code, shift
from interp.planted.lexicon import BOS_ID, N_SPECIAL, WordClass, build_lexicon
from interp.planted.prompts import Prompts, make_prompts


@dataclass(frozen=True)
class Space:
    """Consecutive dimensions of the residual stream."""

    name: str
    start: int
    size: int

    @property
    def eye(self) -> Float[Tensor, "size size"]:
        """The identity map out of, or into, the space."""
        return torch.eye(self.size, dtype=torch.float64)

    @property
    def slice(self) -> slice:
        """Where it lies."""
        return slice(self.start, self.start + self.size)

    def unit(self, index: int) -> Float[Tensor, "size 1"]:
        """The column that reads one of its dimensions."""
        return self.eye[:, index : index + 1]


# Space by space: [size of the space, channel].
Readers = Mapping[Space, Float[Tensor, "_ channel"]]
Writers = Mapping[Space, Float[Tensor, "channel _"]]


@dataclass(frozen=True)
class Match:
    """One reason for a head to attend: `logits * (query readers + bias) . (key readers)`.

    Attributes:
        logits: the score of a unit match; negative to avoid the key.
        query: what the query reads; may be empty if there is a bias.
        key: what the key reads.
        bias: added to what the query reads.
    """

    logits: float
    query: Readers
    key: Readers
    bias: Float[Tensor, " channel"] | None = None

    @property
    def width(self) -> int:
        """Head dimensions that it takes."""
        return next(iter(self.key.values())).shape[1]


@dataclass(frozen=True)
class Move:
    """One thing that a head writes: what `read` gives at the attended tokens, sent through `write`.

    Attributes:
        read: from the attended residual stream.
        write: into the attending one.
    """

    read: Readers
    write: Writers

    @property
    def width(self) -> int:
        """Head dimensions that it takes."""
        return next(iter(self.read.values())).shape[1]


@dataclass(frozen=True)
class _Head:
    matches: tuple[Match, ...]
    moves: tuple[Move, ...]


@dataclass(frozen=True)
class _Neuron:
    layer: int
    read: Readers
    bias: float
    write: Writers


@dataclass(frozen=True)
class Planted:
    """A model and what is known about it.

    Attributes:
        model: float64 unless asked otherwise, frozen, with a tokenizer.
        key: the answers.
        read_scales: what the weights that read the stream of each layer were multiplied by to
            undo a LayerNorm; 1 where there is none.
    """

    model: HookedGPT
    key: AnswerKey
    read_scales: tuple[float, ...]

    def prompts(
        self, family: str | Family, n_prompts: int | None = None, seed: int | None = None
    ) -> Prompts:
        """Prompts of a family of the key; see `make_prompts`."""
        return make_prompts(self.key, family, n_prompts, seed)


class Board:
    """See the module.

    Args:
        classes: word classes that the recipes need.
        d_vocab: token types.
        n_ctx: longest prompt.
        n_layers: blocks.
        layers: where the first and the second step of a two-step circuit go.
        n_heads: heads per layer; as many as needed unless given, the rest stays empty.
        d_head: width of a head; as much as needed unless given.
        d_model: width of the stream; as much as needed unless given, the rest stays unused.
        m: frequencies of the positional code; half the context unless given.
        sharpness: the score margin of a match, L0. The leak to other keys is at most
            `n_ctx * exp(-L0 / 2)` where a head's default is BOS; unless given it is held at the
            value that 14 has for 32 positions.
        gain: logits per unit of output.
        seed: of everything that is drawn.
        dtype: of the model.
    """

    def __init__(
        self,
        classes: tuple[WordClass, ...] = (),
        *,
        d_vocab: int = 32,
        n_ctx: int = 32,
        n_layers: int = 2,
        layers: tuple[int, int] | None = None,
        n_heads: int | None = None,
        d_head: int | None = None,
        d_model: int | None = None,
        m: int | None = None,
        sharpness: float | None = None,
        gain: float = 8.0,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.d_vocab, self.n_ctx, self.n_layers = d_vocab, n_ctx, n_layers
        self.n_heads, self.d_head, self.d_model = n_heads, d_head, d_model
        self.m = (n_ctx + 1) // 2 if m is None else m
        if n_ctx > 2 * self.m:
            raise InputError(
                f"The positional code has m={self.m} frequencies, enough for {2 * self.m} "
                f"positions, but n_ctx={n_ctx}."
            )
        self.early, self.late = (0, n_layers - 1) if layers is None else layers
        if not 0 <= self.early <= self.late < n_layers:
            raise InputError(f"layers={layers} do not lie in order in a model of {n_layers}.")
        self.sharpness = (
            14.0 + 2 * max(0.0, math.log(n_ctx / 32)) if sharpness is None else sharpness
        )
        self.gain, self.seed, self.dtype = gain, seed, dtype
        self.generator = torch.Generator().manual_seed(seed)
        self.lexicon, self.words = build_lexicon(classes, d_vocab)
        self.recipe = ""
        self.recipes: list[str] = []
        self.tables: dict[str, tuple[int, ...]] = {}
        self.families: dict[str, Family] = {}
        self.answers: list[HeadAnswer] = []
        self.edges: list[Edge] = []
        self.facts: list[Fact] = []
        self.directions: dict[str, tuple[Space, Tensor]] = {}
        self._spaces: dict[str, Space] = {}
        self._tokens: dict[Space, Tensor] = {}
        self._positions: dict[Space, Tensor] = {}
        self._readouts: list[tuple[Space, Tensor]] = []
        self._heads: dict[Head, _Head] = {}
        self._neurons: list[_Neuron] = []

    # --- the residual stream ---

    def space(self, name: str, size: int) -> Space:
        """A named part of the stream, of the recipe at work alone; the same one when asked again.

        A name with a capital first letter is shared between recipes.
        """
        name = name if name[0].isupper() else f"{self.recipe}.{name}"
        if name not in self._spaces:
            start = sum(space.size for space in self._spaces.values())
            self._spaces[name] = Space(name, start, size)
        if self._spaces[name].size != size:
            raise InputError(f"The space {name} has {self._spaces[name].size} dimensions.")
        return self._spaces[name]

    @property
    def T(self) -> Space:
        """Which token: one dimension for each."""
        space = self.space("T", self.d_vocab)
        self._tokens.setdefault(space, space.eye)
        return space

    @property
    def P(self) -> Space:
        """Which position: its code word. A model that knows positions knows tokens too."""
        return self._embed_positions()

    def _embed_positions(self) -> Space:
        self._tokens.setdefault(self.T, self.T.eye)
        space = self.space("P", 2 * self.m)
        self._positions.setdefault(space, position_code(self.n_ctx, self.m))
        return space

    @property
    def O(self) -> Space:  # noqa: E743
        """Output: one dimension for each token, which the unembedding multiplies by `gain`."""
        return self.output("O")

    def output(self, name: str) -> Space:
        """A further output space, so that a recipe can write where no other one reads."""
        known = set(self._spaces)
        space = self.space(name, self.d_vocab)
        if set(self._spaces) != known:
            self.read_out(space, self.gain * space.eye)
        return space

    def has(self, name: str) -> bool:
        """Whether a space has been allocated under this full name."""
        return name in self._spaces

    def flag(self, name: str, members: tuple[int, ...]) -> Space:
        """One dimension that is 1 at the given tokens."""
        space = self.space(name, 1)
        column = torch.zeros(self.d_vocab, 1, dtype=torch.float64)
        column[list(members)] = 1.0
        return self.embed(space, column)

    def embed(self, space: Space, rows: Float[Tensor, "d_vocab size"]) -> Space:
        """What each token writes into a space."""
        self._tokens[space] = rows
        return space

    def read_out(self, space: Space, columns: Float[Tensor, "size d_vocab"]) -> None:
        """How the unembedding reads a space."""
        self._readouts.append((space, columns))

    def code(self, position: int) -> Float[Tensor, " code"]:
        """A position's code word."""
        return position_code(position + 1, self.m)[position]

    # --- frequent pieces ---

    @property
    def keep_words(self) -> Float[Tensor, "d_vocab d_vocab"]:
        """The identity on tokens, with BOS left out."""
        kept = torch.eye(self.d_vocab, dtype=torch.float64)
        kept[BOS_ID] = 0.0
        return kept

    def look_back(self, *lags: int, logits: float | None = None) -> Match:
        """Attend to fixed distances; without a key there, to everything alike."""
        turned = sum(shift(lag, self.m) for lag in lags)
        logits = self.sharpness if logits is None else logits
        return Match(logits, {self.P: self.P.eye}, {self.P: turned})

    def rest_on_bos(self, logits: float | None = None) -> Match:
        """Attend to the BOS token unless something scores higher: half the margin by default."""
        logits = self.sharpness if logits is None else 2 * logits
        half = torch.full((1,), 0.5, dtype=torch.float64)
        return Match(logits, {}, {self.T: self.T.unit(BOS_ID)}, bias=half)

    def move(self, source: Space, target: Space, matrix: Tensor | None = None) -> Move:
        """Write one space into another, through a matrix if there is one."""
        return Move({source: source.eye if matrix is None else matrix}, {target: target.eye})

    # --- heads, neurons, answers ---

    def head(self, layer: int, *matches: Match, moves: tuple[Move, ...] = (), **answer) -> Head:
        """Place a head in the next free slot of a layer.

        Args:
            layer: which.
            *matches: why it attends.
            moves: what it writes.
            **answer: fields of `HeadAnswer`, without plant and place.
        """
        if layer >= self.n_layers:
            raise InputError(f"{self.recipe} needs layer {layer}, but n_layers={self.n_layers}.")
        at = (layer, sum(1 for known in self._heads if known[0] == layer))
        if self.n_heads is not None and at[1] >= self.n_heads:
            raise InputError(
                f"The plants need more than n_heads={self.n_heads} heads in layer {layer}."
            )
        self._heads[at] = _Head(matches, moves)
        self.answers.append(HeadAnswer(*at, plant=self.recipe, **answer))
        return at

    def neuron(self, layer: int, read: Readers, bias: float, write: Writers) -> None:
        """Place a ReLU neuron: `relu(x . read + bias)` times `write`.

        Args:
            layer: of its MLP.
            read: columns of width 1.
            bias: added before the bend.
            write: rows of height 1.
        """
        self._neurons.append(_Neuron(layer, read, bias, write))

    def family(self, name: str, kind: str, n_prompts: int = 8, **options) -> str:
        """Add prompts to the key; gives back the name under which they are found."""
        name = f"{self.recipe}:{name}"
        self.families[name] = Family(kind, n_prompts, self.seed + len(self.families), options)
        return name

    def lens(self, prompts: str, logits: float, layer: int, tolerance: float) -> Iterator[LensFact]:
        """What the logit lens must see if one layer writes the whole answer: nothing before it."""
        for n_done in range(self.n_layers + 1):
            value = logits if n_done > layer else 0.0
            yield LensFact(value, tolerance, prompts, n_done, alone=True, soft=True)

    @contextmanager
    def planting(self, recipe: str) -> Iterator[None]:
        """The recipe at work, whose name heads, spaces and prompts carry."""
        self.recipe = recipe
        self.recipes.append(recipe)
        yield
        self.recipe = ""

    # --- from board to model ---

    def build(self) -> Planted:
        """The model and its key.

        Raises:
            InputError: a width that was given is too small.
        """
        if self._heads:
            self._embed_positions()  # so that heads for positions can be added to every model
        config = self._config()
        model = HookedGPT(config, dtype=self.dtype, init=None)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
            self._write_embeddings(model)
            for (layer, head), spec in self._heads.items():
                _write_head(model.blocks[layer].attn, head, spec)
            self._write_neurons(model)
        model.requires_grad_(False).eval()
        model.name = f"planted:{'+'.join(self.recipes)}"
        model.tokenizer = WordTokenizer(self.words[: self.d_vocab - N_SPECIAL])
        model.provenance = {"source": "planted", "recipes": list(self.recipes), "seed": self.seed}
        key = self._key(config)
        if self.dtype != torch.float64:
            key = key.loosened(1e-3, 1e-3)
        return Planted(model, key, (1.0,) * self.n_layers)

    def _config(self) -> GPTConfig:
        width = max(1, sum(space.size for space in self._spaces.values()))
        needed = max((_width(spec) for spec in self._heads.values()), default=1)
        needed = max(needed, 2 * self.m if self._positions else 1)
        for name, given, least in (
            ("d_model", self.d_model, width),
            ("d_head", self.d_head, needed),
        ):
            if given is not None and given < least:
                raise InputError(f"{name}={given}, but these plants need {least}.")
        widest = max((head + 1 for _, head in self._heads), default=1)
        per_layer = [sum(n.layer == layer for n in self._neurons) for layer in range(self.n_layers)]
        return GPTConfig(
            n_layers=self.n_layers,
            d_model=self.d_model or width,
            n_heads=self.n_heads or widest,
            n_ctx=self.n_ctx,
            d_vocab=self.d_vocab,
            d_head=self.d_head or needed,
            d_mlp=max(per_layer),
            norm="none",
            activation="relu",
            tied=False,
        )

    def _write_embeddings(self, model: HookedGPT) -> None:
        for space, rows in self._tokens.items():
            model.embed.W_E[:, space.slice] = rows.to(self.dtype)
        for space, rows in self._positions.items():
            model.pos_embed.W_pos[:, space.slice] = rows.to(self.dtype)
        for space, columns in self._readouts:
            model.unembed.W_U[space.slice] += columns.to(self.dtype)

    def _write_neurons(self, model: HookedGPT) -> None:
        used = [0] * self.n_layers
        for neuron in self._neurons:
            mlp, k = model.blocks[neuron.layer].mlp, used[neuron.layer]
            used[neuron.layer] += 1
            for space, column in neuron.read.items():
                mlp.W_in[space.slice, k] = column[:, 0].to(self.dtype)
            mlp.b_in[k] = neuron.bias
            for space, row in neuron.write.items():
                mlp.W_out[k, space.slice] = row[0].to(self.dtype)

    def _key(self, config: GPTConfig) -> AnswerKey:
        taken = {answer.at for answer in self.answers}
        places = [(la, h) for la in range(config.n_layers) for h in range(config.n_heads)]
        empty = [HeadAnswer(*at, plant="empty", part="empty") for at in places if at not in taken]
        shared = len(self.recipes) > 1
        directions = {}
        for name, (space, vector) in self.directions.items():
            whole = torch.zeros(config.d_model, dtype=torch.float64)
            whole[space.slice] = vector
            directions[name] = tuple(whole.tolist())
        return AnswerKey(
            recipes=tuple(self.recipes),
            d_vocab=self.d_vocab,
            n_ctx=self.n_ctx,
            m=self.m if self._positions else 0,
            lexicon=self.lexicon,
            tables=dict(self.tables),
            families=dict(self.families),
            heads=tuple(sorted((*self.answers, *empty), key=lambda a: a.at)),
            edges=tuple(self.edges),
            facts=tuple(fact for fact in self.facts if not (fact.alone and shared)),
            directions=directions,
        )


def _width(spec: _Head) -> int:
    scores = sum(match.width for match in spec.matches)
    return max(scores, sum(move.width for move in spec.moves))


def _write_head(attn: torch.nn.Module, head: int, spec: _Head) -> None:
    """The head's weights: each match and each move in dimensions of its own."""
    d_head, dtype = attn.d_head, attn.W_QKV.dtype
    start = 0
    for match in spec.matches:
        inside = slice(start, start + match.width)
        start += match.width
        # Scores are divided by sqrt(d_head), and the sign goes to the query.
        gain = math.sqrt(abs(match.logits) * math.sqrt(d_head))
        signed = math.copysign(gain, match.logits)
        for space, matrix in match.query.items():
            attn.W_Q[head, space.slice, inside] += signed * matrix.to(dtype)
        for space, matrix in match.key.items():
            attn.W_K[head, space.slice, inside] += gain * matrix.to(dtype)
        if match.bias is not None:
            attn.b_Q[head, inside] += signed * match.bias.to(dtype)
    start = 0
    for move in spec.moves:
        inside = slice(start, start + move.width)
        start += move.width
        for space, matrix in move.read.items():
            attn.W_V[head, space.slice, inside] += matrix.to(dtype)
        for space, matrix in move.write.items():
            attn.W_O[head, inside, space.slice] += matrix.to(dtype)
