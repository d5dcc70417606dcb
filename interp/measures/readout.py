"""Score and control of every role, head and prompt, read while the model runs.

Each version of a scene is run once. A layer's pattern is reduced to one number per prompt, head and
reading before the next layer runs, so memory does not grow with the number of prompts (beyond the
results), nor with the number of layers.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.core import HookedGPT, hook_name
from interp.measures.cells import RoleCells
from interp.measures.roles import Role
from interp.measures.scenes import Scene, Suite

FULL_VOCABULARY = 2048  # beyond it, ranks are taken among random words
N_WORDS = 512  # so many of them
MAX_PLACES = 16  # tokens of a prompt whose output is looked at
N_DRAWS = 8  # random directions of control heads, shared by all heads
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class UnitValues:
    """A role on one kind of prompts: one value per unit, layer and head.

    Attributes:
        score: of the role.
        control: what it is held against.
        unit: which unit each row is.
    """

    score: Float[np.ndarray, "unit layer head"]
    control: Float[np.ndarray, "unit layer head"]
    unit: Int[np.ndarray, " unit"]


PerHead = Float[Tensor, "batch head"]
PerPlace = Float[Tensor, "batch head place"]
Counts = Int[Tensor, "batch head place"]
Logits = Float[Tensor, "batch head place word"]
Written = Float[Tensor, "batch head place d_model"]
Part = tuple[np.ndarray, np.ndarray, np.ndarray]  # score, control, unit


@torch.no_grad()
def read_suite(
    model: HookedGPT,
    suite: Suite,
    roles: Sequence[Role],
    *,
    batch_size: int = 32,
    mask: str | Tensor | dict | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, UnitValues]:
    """Score and control of each role for each unit; roles without a target are left out.

    Args:
        model: any HookedGPT.
        suite: the prompts.
        roles: which roles; those that no scene supports are missing in the result.
        batch_size: prompts in one forward pass.
        mask: as in `HookedGPT.forward`.
        seed: of the random heads beside the circuit roles, and of the sampled vocabulary.
        progress: called with what is done, prompts done and prompts in all.

    Cost: one forward pass per version without the unembedding; `d_head` multiplications per head,
    token looked at (16 of a prompt) and word of the vocabulary (at most 2,048), twice.
    """
    circuits = _circuits(model, suite, roles, seed)
    parts: dict[str, list[Part]] = {}
    done, total = 0, sum(map(len, suite.scenes))
    for scene in _chunks(suite, batch_size):
        for role, part in _read_scene(model, scene, roles, circuits, mask).items():
            parts.setdefault(role, []).append(part)
        done += len(scene)
        if progress is not None:
            progress(f"heads on {suite.name}", done, total)
    joined = {
        name: tuple(np.concatenate(side) for side in zip(*found, strict=True))
        for name, found in parts.items()
    }
    return {role.name: by_unit(*joined[role.name]) for role in roles if role.name in joined}


def _chunks(suite: Suite, batch_size: int) -> Iterator[Scene]:
    for scene in suite.scenes:
        for start in range(0, len(scene), batch_size):
            yield scene.rows(start, start + batch_size)


def by_unit(score: np.ndarray, control: np.ndarray, unit: np.ndarray) -> UnitValues:
    """Means over the prompts that share a unit."""
    names, owner, size = np.unique(unit, return_inverse=True, return_counts=True)
    sides = []
    for side in (score, control):
        total = np.zeros((len(size), *side.shape[1:]))
        np.add.at(total, owner, side)
        sides.append(total / size[:, None, None])
    return UnitValues(*sides, names)


def _read_scene(
    model: HookedGPT,
    scene: Scene,
    roles: Sequence[Role],
    circuits: "_Circuits | None",
    mask: object,
) -> dict[str, Part]:
    device = model.W_E.device
    cells: dict[str, RoleCells] = {}
    for role in roles:
        found = role.cells(scene, device) if role.cells is not None else None
        if found is not None and found.defined.any():
            cells[role.name] = found
    dynamic = bool(scene.plain) and any(role.dynamic for role in roles)
    read: dict[tuple[str, str], np.ndarray] = {}
    for version, tokens in scene.versions.items():
        weights = {
            (name, side): getattr(of_role, side).weights
            for name, of_role in cells.items()
            for side in ("target", "control")
            if getattr(of_role, side).version == version
        }
        plain = version == scene.plain
        reader = _Reader(model, torch.as_tensor(tokens, device=device), weights)
        if plain and dynamic:
            reader.read_predicted()
        if plain and circuits is not None:
            reader.read_circuits(circuits, scene.unit)
        read |= reader.run(mask)
    parts: dict[str, Part] = {}
    for role in roles:
        name = role.name
        if (name, "target") not in read:
            continue
        score, control = read[name, "target"], read[name, "control"]
        defined = ~np.isnan(score).any((1, 2))
        if name in cells:
            defined &= cells[name].defined.cpu().numpy()
        if defined.any():
            parts[name] = (score[defined], control[defined], scene.unit[defined])
    return parts


class _Reader:
    """One version's forward pass, and what its hooks gather: `batch layer head` per reading."""

    def __init__(
        self, model: HookedGPT, tokens: Int[Tensor, "batch pos"], weights: dict[tuple, Tensor]
    ) -> None:
        self.model, self.tokens = model, tokens
        self.found: dict[tuple[str, str], list[Tensor]] = {}
        self.hooks: list[tuple[str, Callable]] = []
        self._layers = range(model.config.n_layers)
        if weights:
            wide = model.W_E.dtype == torch.float64
            stacked = torch.stack([w.flatten(1) for w in weights.values()], dim=-1)
            stacked = stacked.to(torch.float64 if wide else torch.float32)

            def reduce(pattern: Tensor, point: object) -> None:
                on_cells = pattern.flatten(2).to(stacked.dtype) @ stacked
                for column, name in enumerate(weights):
                    self._keep(name, on_cells[..., column])

            self.hooks += [(hook_name("pattern", layer), reduce) for layer in self._layers]

    def _keep(self, name: tuple[str, str], values: Float[Tensor, "batch head"]) -> None:
        self.found.setdefault(name, []).append(values.double().cpu())

    def run(self, mask: object) -> dict[tuple[str, str], Float[np.ndarray, "batch layer head"]]:
        """Run the model, if anybody wants to know something."""
        if self.hooks:
            self.model.run_with_hooks(
                self.tokens, self.hooks, stop_at_layer=self.model.config.n_layers, mask=mask
            )
        return {name: torch.stack(layers, 1).numpy() for name, layers in self.found.items()}

    # --- attention to what the stream so far predicts ---

    def read_predicted(self) -> None:
        """Attention to the earlier token that the logit lens ranks highest, and to the others."""
        predicted: dict[int, tuple[Tensor, Tensor]] = {}

        def lens(layer: int) -> Callable:
            def hook(resid: Tensor, point: object) -> None:
                predicted[layer] = _predicted_cells(self.model, resid, self.tokens)

            return hook

        def attend(layer: int) -> Callable:
            def hook(pattern: Tensor, point: object) -> None:
                for side, weights in zip(("target", "control"), predicted.pop(layer), strict=True):
                    values = torch.einsum("bhqk,bqk->bh", pattern, weights.to(pattern.dtype))
                    self._keep(("predicted_token", side), values)

            return hook

        for layer in self._layers:
            self.hooks.append((hook_name("resid_pre", layer), lens(layer)))
            self.hooks.append((hook_name("pattern", layer), attend(layer)))

    # --- what heads write ---

    def read_circuits(self, circuits: "_Circuits", unit: Int[np.ndarray, " batch"]) -> None:
        """Ranks of each token under the output of a head that attends to it."""
        places = circuits.places(self.tokens)

        def written(layer: int) -> Callable:
            def hook(v: Tensor, point: object) -> None:
                for name, values in circuits.of_heads(layer, v, self.tokens, places).items():
                    self._keep(name, values)

            return hook

        def placebo(layer: int) -> Callable:
            def hook(normalized: Tensor, point: object) -> None:
                for name, values in circuits.of_random_heads(
                    layer, normalized, self.tokens, places, unit
                ).items():
                    self._keep(name, values)

            return hook

        stream = "normalized" if self.model.config.norm == "pre" else "resid_pre"
        for layer in self._layers:
            norm = "ln1" if stream == "normalized" else None
            self.hooks.append((hook_name(stream, layer, norm), placebo(layer)))
            self.hooks.append((hook_name("v", layer), written(layer)))


def _predicted_cells(
    model: HookedGPT, resid: Tensor, tokens: Int[Tensor, "batch pos"]
) -> tuple[Float[Tensor, "batch query_pos key_pos"], Float[Tensor, "batch query_pos key_pos"]]:
    """Cells of the most predicted earlier token, and of the other ones, averaged over queries.

    Position 0, the query's own token and queries with fewer than two candidates do not count.
    """
    normed = model.ln_final(resid) if model.config.norm == "pre" else resid
    logits = normed @ model.W_U.T[tokens].transpose(1, 2)  # batch query_pos key_pos
    position = torch.arange(tokens.shape[1], device=tokens.device)
    candidate = (position[:, None] > position) & (position >= 1)
    candidate = candidate & (tokens[:, :, None] != tokens[:, None, :])
    best = logits.masked_fill(~candidate, -torch.inf).amax(-1, keepdim=True)
    target = candidate & (logits >= best)
    other = candidate & ~target
    counts = target.any(-1, keepdim=True) & other.any(-1, keepdim=True)
    n_queries = counts.sum(1, keepdim=True).clamp(min=1)
    # Prompts without such a query get NaN, which marks them as undefined.
    lacking = torch.where(counts.any(1, keepdim=True), 0.0, torch.nan).double()
    return tuple(
        (hits & counts).double() / hits.sum(-1, keepdim=True).clamp(min=1) / n_queries + lacking
        for hits in (target, other)
    )


def _circuits(
    model: HookedGPT, suite: Suite, roles: Sequence[Role], seed: int
) -> "_Circuits | None":
    kinds = {role.circuit: role.name for role in roles if role.circuit}
    if suite.successor is None:
        kinds.pop("successor", None)
    return _Circuits(model, suite, kinds, seed) if kinds else None


class _Circuits:
    """Output matrices folded with the unembedding, and those of random heads beside them.

    The final norm's centring and weights are folded in; its scale is positive and changes no rank.
    Biases behind the heads are left out, since they say nothing about a token.
    """

    def __init__(self, model: HookedGPT, suite: Suite, kinds: dict[str, str], seed: int) -> None:
        self.model, self.kinds = model, kinds
        self.generator = torch.Generator().manual_seed(seed)
        self._known_spectra: dict[int, Tensor] = {}
        config, device = model.config, model.W_E.device
        self.dtype = torch.float64 if model.W_E.dtype == torch.float64 else torch.float32
        self.special = torch.tensor(suite.special, device=device, dtype=torch.long)
        words = torch.arange(config.d_vocab, device=device)
        words = words[~torch.isin(words, self.special)]
        if len(words) > FULL_VOCABULARY:
            drawn = torch.randperm(len(words), generator=self.generator)[:N_WORDS]
            words = words[drawn.to(device).sort().values]
        self.words = words
        self.W_U_words = self._rows(words).T.contiguous()
        self.directions = [(self._orthonormal(), self._orthonormal()) for _ in range(N_DRAWS)]
        self.successor = None
        if "successor" in kinds:
            self.successor = torch.as_tensor(suite.successor, device=device)

    def _rows(self, tokens: Int[Tensor, "*token"]) -> Float[Tensor, "*token d_model"]:
        """How the logits of these tokens are read from what a head writes."""
        rows = self.model.W_U.T[tokens].to(self.dtype)
        if self.model.config.norm == "pre":
            rows = rows * self.model.ln_final.w.to(self.dtype)
            rows = rows - rows.mean(-1, keepdim=True)
        return rows

    def places(self, tokens: Int[Tensor, "batch pos"]) -> Int[Tensor, " place"]:
        """Positions looked at: words from position 1 on, evenly spaced if there are many."""
        n_pos = tokens.shape[1]
        positions = torch.arange(min(1, n_pos - 1), n_pos, device=tokens.device)
        if len(positions) > MAX_PLACES:
            step = torch.linspace(0, len(positions) - 1, MAX_PLACES, device=tokens.device)
            positions = positions[step.round().long()]
        return positions

    def of_heads(
        self,
        layer: int,
        v: Float[Tensor, "batch pos head d_head"],
        tokens: Int[Tensor, "batch pos"],
        places: Int[Tensor, " place"],
    ) -> dict[tuple[str, str], PerHead]:
        """The statistics of all heads of a layer, and the controls that are their own."""
        W_O = self.model.blocks[layer].attn.W_O.to(self.dtype)
        inside = v[:, places].to(self.dtype).transpose(1, 2)
        wanted = self._wanted(tokens[:, places])
        logits, written = inside @ (W_O @ self.W_U_words), inside @ W_O
        found = self._statistics(self._ranks(logits, written, wanted[0]), wanted[0])
        if self.successor is not None:
            found |= self._successors(logits, written, wanted[1:])
        return found

    def of_random_heads(
        self,
        layer: int,
        stream: Float[Tensor, "batch pos d_model"],
        tokens: Int[Tensor, "batch pos"],
        places: Int[Tensor, " place"],
        unit: Int[np.ndarray, " batch"],
    ) -> dict[tuple[str, str], PerHead]:
        """The same for heads with the singular values of these and random directions.

        A unit's random directions depend on its number alone, whatever batch it is in.
        """
        if not {"top", "bottom", "percentile"} & set(self.kinds):
            return {}
        wanted = self._wanted(tokens[:, places])[0]
        stream, spectra = stream[:, places].to(self.dtype), self._spectra(layer)
        drawn = torch.as_tensor(unit, device=stream.device) % N_DRAWS
        values: dict[tuple[str, str], Tensor] = {}
        for number in drawn.unique().tolist():
            rows = (drawn == number).nonzero()[:, 0]
            left, right = self.directions[number]
            inside = (stream[rows] @ left)[:, None] * spectra[:, None]
            logits = inside @ (right.T @ self.W_U_words)
            ranks = self._ranks(logits, inside @ right.T, wanted[rows])
            for (name, _), value in self._statistics(ranks, wanted[rows]).items():
                whole = values.setdefault(
                    (name, "control"), value.new_empty(len(unit), len(spectra))
                )
                whole[rows] = value
        return values

    def _spectra(self, layer: int) -> Float[Tensor, "head rank"]:
        if layer not in self._known_spectra:
            attn = self.model.blocks[layer].attn
            pairs = zip(attn.W_V.to(self.dtype), attn.W_O.to(self.dtype), strict=True)
            self._known_spectra[layer] = torch.stack([ov_singular_values(*pair) for pair in pairs])
        return self._known_spectra[layer]

    def _orthonormal(self) -> Float[Tensor, "d_model rank"]:
        config = self.model.config
        drawn = torch.randn(
            config.d_model, min(config.d_head, config.d_model), generator=self.generator
        )
        return torch.linalg.qr(drawn.double())[0].to(self.W_U_words)

    def _wanted(self, tokens: Int[Tensor, "batch place"]) -> list[Int[Tensor, "batch place"]]:
        """Tokens whose ranks are taken: the own one, then one, two, minus one, minus two steps on.

        -1 where there is none.
        """
        own = torch.where(torch.isin(tokens, self.special), -1, tokens)
        if self.successor is None:
            return [own]
        forward = self.successor
        back = torch.full_like(forward, -1)
        back[forward[forward >= 0]] = (forward >= 0).nonzero()[:, 0]
        one, less = _follow(forward, own), _follow(back, own)
        return [own, one, _follow(forward, one), less, _follow(back, less)]

    def _ranks(
        self, logits: Logits, written: Written, tokens: Int[Tensor, "batch place"]
    ) -> tuple[Counts, Counts, Int[Tensor, "batch 1 place"]]:
        """For each wanted token: words above it, words level with it, and other words in all."""
        own, near, itself = self._own(logits, written, tokens)
        above = (logits > (own + near)[..., None]).sum(-1)
        reached = (logits >= (own - near)[..., None]).sum(-1)
        return above, (reached - above - itself).clamp(min=0), len(self.words) - itself

    def _own(
        self, logits: Logits, written: Written, tokens: Int[Tensor, "batch place"]
    ) -> tuple[PerPlace, PerPlace, Int[Tensor, "batch 1 place"]]:
        """Each wanted token's own logit, what counts as equal, and whether it is among the words.

        Beyond rounding, so that equal logits stay ties after a rotation of the weights.
        """
        low, high = logits.aminmax(dim=-1)
        near = (1e-9 if self.dtype == torch.float64 else 1e-5) * torch.maximum(-low, high)
        tokens = tokens.clamp(min=0)
        own = (written * self._rows(tokens)[:, None]).sum(-1)
        return own, near, torch.isin(tokens, self.words).long()[:, None]

    def _statistics(
        self, ranks: tuple[Tensor, Tensor, Tensor], tokens: Int[Tensor, "batch place"]
    ) -> dict[tuple[str, str], PerHead]:
        above, tied, n_others = ranks
        below = n_others - above - tied
        # Ties count against a hit: a head that writes nothing raises nothing.
        shares = {
            "top": (above + tied == 0).double(),
            "bottom": (below + tied == 0).double(),
            "percentile": (below + 0.5 * tied).double() / n_others.clamp(min=1),
        }
        return {
            (self.kinds[kind], "target"): _mean_where(share, (tokens >= 0)[:, None])
            for kind, share in shares.items()
            if kind in self.kinds
        }

    def _successors(
        self, logits: Logits, written: Written, wanted: list[Int[Tensor, "batch place"]]
    ) -> dict[tuple[str, str], PerHead]:
        one = wanted[0]
        row, place = (one >= 0).nonzero(as_tuple=True)  # often few tokens have a successor
        logits, written = logits[row, :, place][:, :, None], written[row, :, place][:, :, None]
        hits = []
        for tokens in wanted:
            counts = (tokens >= 0) & (one >= 0) & ((tokens != one) | (tokens is one))
            own, near, itself = self._own(logits, written, tokens[row, place][:, None])
            first = (logits >= (own - near)[..., None]).sum(-1) <= itself
            at_places = first.new_zeros(*one.shape, first.shape[1])
            at_places[row, place] = first[..., 0]
            hits.append(_mean_where(at_places.transpose(1, 2).double(), counts[:, None]))
        control = torch.stack(hits[1:]).nanmean(0)
        # Where only the successor is known, its neighbours cannot have been hit.
        control = torch.where(hits[0].isnan() | ~control.isnan(), control, 0.0)
        name = self.kinds["successor"]
        return {(name, "target"): hits[0], (name, "control"): control}


def ov_singular_values(
    W_V: Float[Tensor, "d_model d_head"], W_O: Float[Tensor, "d_head d_model"]
) -> Float[Tensor, " rank"]:
    """Singular values of `W_V @ W_O`, through two small triangular factors."""
    left, right = torch.linalg.qr(W_V, mode="r")[1], torch.linalg.qr(W_O.T, mode="r")[1]
    return torch.linalg.svdvals(left @ right.T)


def _follow(table: Tensor, tokens: Tensor) -> Tensor:
    return torch.where(tokens >= 0, table[tokens.clamp(min=0)], -1)


def _mean_where(values: PerPlace, counts: Bool[Tensor, "batch 1 place"]) -> PerHead:
    """Mean over the places that count; NaN where none does, which marks a prompt as undefined."""
    total = (values * counts).sum(-1)
    n = counts.sum(-1)
    return torch.where(n > 0, total / n.clamp(min=1), torch.nan)
