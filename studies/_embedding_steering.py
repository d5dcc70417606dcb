"""Steering along a direction of the embedding: what the next word makes of it."""

from typing import TYPE_CHECKING

from interp.core.errors import InputError
from interp.reporting import Table
from studies._embedding_tables import Sizes, Tables
from studies._embedding_words import Material

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from interp.core import HookedGPT
    from interp.measures.steering import SteeringReadout

ALPHAS = (0.25, 0.5, 1.0, 1.5, 2.0)
RANDOM = "random direction"


def steering_tables(model: "HookedGPT", W_E: "np.ndarray", words: Material, sizes: Sizes) -> Tables:
    """Each concept's words, moved along its own direction, others, and random ones."""
    import pandas as pd

    from interp.measures.steering import Move, steer

    parts = []
    for relation, template, up, down in words.lists.readouts:
        if relation not in words.relations:
            continue
        readout, used = _readout(model, words, relation, template, up, down, sizes)
        if readout is None:
            continue
        own = _own(W_E, words.relations[relation], used, readout)
        moves = [Move(relation, own, ALPHAS)]
        others = [r for r in words.relations if r not in (relation, words.lists.null_relation)]
        for other in others[: sizes.n_other_directions]:
            ids = words.relations[other]
            moves.append(Move(other, _along(W_E[ids].astype(float), own), (1.0,)))
        for draw in range(sizes.n_random_directions):
            moves.append(Move(RANDOM, _random(own, sizes.seed + draw), ALPHAS, draw))
        found = steer(model, readout, moves, sizes.batch_size)
        parts.append(found.assign(readout=relation))
    if not parts:
        return {}
    frame = pd.concat(parts, ignore_index=True)
    summary = _summary(frame, sizes)
    return {
        "steering": Table(
            summary,
            "Steering: words moved by alpha times a concept's mean difference (the direction "
            "comes from the other pairs; all directions are equally long). moved: logits by which "
            "the readout moved as the concept says, with 95 % interval over pairs, or over "
            "directions where they are random; share: of what swapping the word does; side effect: "
            "KL over the words outside the readout (nats)",
        ),
        "steering_gain": Table(
            _gains(frame, sizes),
            "The same at alpha = 1, minus random directions of equal length, by pair (logits)",
        ),
    }


def _readout(
    model: "HookedGPT",
    words: Material,
    relation: str,
    template: str,
    up: list[str],
    down: list[str],
    sizes: Sizes,
) -> "tuple[SteeringReadout | None, np.ndarray]":
    """Prompts with each pair's first and second word, and the numbers of the pairs used."""
    import numpy as np

    from interp.measures.steering import SteeringReadout

    before, _, after = template.partition("{}")
    # In the middle of a text, so with the space before it where the tokenizer keeps spaces.
    try:
        start = model.tokenizer.encode(before.rstrip())
        end = model.tokenizer.encode(after, bos=False) if after.strip() else []
    except InputError:  # a vocabulary without the words of the template
        return None, np.empty(0, dtype=int)
    ids = words.relations[relation]
    ups, downs = words.ids(up), words.ids(down)
    used = np.flatnonzero(~np.isin(ids, np.concatenate([ups, downs])).any(axis=1))
    used = used[: sizes.n_steered]
    if len(used) < 2 or not len(ups) or not len(downs):
        return None, used
    both = np.concatenate([ids[used], ids[used][:, ::-1]])  # told word, its partner
    tokens, swapped = (
        np.array([[*start, word, *end] for word in both[:, side]]) for side in (0, 1)
    )
    if tokens.shape[1] > model.config.n_ctx:
        return None, used
    sign = np.repeat([1, -1], len(used))
    return SteeringReadout(
        relation, tokens, swapped, len(start), tuple(ups.tolist()), tuple(downs.tolist()),
        sign, np.tile(np.arange(len(used)), 2),
    ), used  # fmt: skip


def _own(
    W_E: "np.ndarray", ids: "np.ndarray", used: "np.ndarray", readout: "SteeringReadout"
) -> "np.ndarray":
    """For each prompt the mean difference of all pairs but its own."""
    import numpy as np

    differences = (W_E[ids[:, 1]] - W_E[ids[:, 0]]).astype(float)
    held_out = np.array([np.delete(differences, pair, axis=0).mean(axis=0) for pair in used])
    return held_out[readout.pair]


def _along(pairs: "np.ndarray", own: "np.ndarray") -> "np.ndarray":
    """Another relation's direction, as long as the concept's own."""
    import numpy as np

    direction = (pairs[:, 1] - pairs[:, 0]).mean(axis=0)
    return direction / np.linalg.norm(direction) * np.linalg.norm(own, axis=1, keepdims=True)


def _random(own: "np.ndarray", seed: int) -> "np.ndarray":
    import numpy as np

    from interp.measures.steering import random_directions

    direction = random_directions(own.shape[1], 1, seed)
    return direction * np.linalg.norm(own, axis=1, keepdims=True)


def _summary(frame: "pd.DataFrame", sizes: Sizes) -> "pd.DataFrame":
    import numpy as np
    import pandas as pd

    from interp import measures

    rows = []
    for (readout, direction, alpha), some in frame.groupby(
        ["readout", "direction", "alpha"], sort=False
    ):
        unit = "draw" if direction == RANDOM else "pair"
        by_unit = some.groupby(unit)["moved"].mean().to_numpy()
        if direction == RANDOM:  # where single random directions lie, not where their mean does
            low, high = np.quantile(by_unit, [0.025, 0.975])
        else:
            lows, highs = measures.bootstrap_interval(by_unit[:, None], 999, sizes.seed)
            low, high = lows[0], highs[0]
        swap = some["swap"].mean()
        rows.append(
            {
                "readout": readout,
                "direction": direction,
                "alpha": alpha,
                "moved": by_unit.mean(),
                "ci_low": low,
                "ci_high": high,
                "swap": swap,
                # Without an effect of the word itself there is nothing to be a share of.
                "share": by_unit.mean() / swap if abs(swap) > 1e-6 else 0.0,
                "kl_nats": some["kl_nats"].mean(),
                "side_kl_nats": some["side_kl_nats"].mean(),
                "n": len(by_unit),
            }
        )
    return pd.DataFrame(rows)


def _gains(frame: "pd.DataFrame", sizes: Sizes) -> "pd.DataFrame":
    """Own direction against random ones, pair by pair, and whether the effect grows with alpha."""
    import numpy as np
    import pandas as pd

    from interp import measures

    rows = []
    for readout, some in frame.groupby("readout", sort=False):
        own = some[some["direction"] == readout]
        by_alpha = own.pivot_table(index="pair", columns="alpha", values="moved")
        random = some[(some["direction"] == RANDOM) & (some["alpha"] == 1.0)]
        control = random.groupby("pair")["moved"].mean()
        other = some[~some["direction"].isin([readout, RANDOM])]
        others = other.groupby("direction")["moved"].mean()
        gain = (by_alpha[1.0] - control).to_numpy()
        low, high = measures.bootstrap_interval(gain[:, None], 999, sizes.seed)
        steps = np.diff(np.concatenate([np.zeros((len(by_alpha), 1)), by_alpha], axis=1), axis=1)
        rows.append(
            {
                "readout": readout,
                "gain": gain.mean(),
                "ci_low": low[0],
                "ci_high": high[0],
                "p": measures.sign_flip_p(gain[:, None], 4095, sizes.seed)[0],
                "random": control.mean(),
                "largest_other": others.abs().max() if len(others) else 0.0,
                "other_name": str(others.abs().idxmax()) if len(others) else "none",
                "swap": own["swap"].mean(),
                "monotone": float((steps > 0).all(axis=1).mean()),
                "kl_nats": own.loc[own["alpha"] == 1.0, "kl_nats"].mean(),
                "side_kl_nats": own.loc[own["alpha"] == 1.0, "side_kl_nats"].mean(),
                "side_kl_random": random["side_kl_nats"].mean(),
                "n": len(gain),
            }
        )
    return pd.DataFrame(rows)
