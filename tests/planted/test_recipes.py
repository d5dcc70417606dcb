"""What each recipe must measure, by hand: softmax of the scores that the recipe was given.

The margin of a match is 14 logits (12 and 18 for the gate), so attention is 1 / (1 + e^-7) where a
head otherwise rests on BOS, and logits are 8 times that. `measured` below is a loop over queries;
it shares no code with the library's own check of the key.
"""

import math

import numpy as np
import pytest
import torch
from oracles.numpy_gpt import activations

from interp.planted import LECTURE, RECIPES, Family, check, make_prompts, plant, zoo

# A default, and primes for every size, with two more layers than the plants need.
SIZES = [
    {},
    {
        "d_vocab": 43,
        "n_ctx": 37,
        "n_layers": 3,
        "layers": (0, 2),
        "m": 23,
        "sharpness": 14.0,
        "seed": 7,
    },
]
BY_SIZE = pytest.mark.parametrize("sizes", SIZES, ids=["default", "primes"])


def pattern(planted, head, tokens):
    name = f"blocks.{head[0]}.attn.hook_pattern"
    _, cache = planted.model.run_with_cache(tokens, name)
    return cache[name][:, head[1]].numpy()


def mean_attention(planted, head, tokens, target, queries):
    """Mean over prompts and queries of the attention on `target(row, query)`."""
    found = []
    for rows, row in zip(pattern(planted, head, tokens), tokens.tolist(), strict=True):
        found += [rows[q, target(row, q)] for q in queries]
    return np.mean(found)


def repeats(planted, period, **options):
    family = Family("repeated", 6, seed=11, options={"period": period, **options})
    return make_prompts(planted.key, family)


def block_loss(planted, tokens, queries, ablated=()):
    """Mean cross entropy of the tokens after `queries`, in nats."""

    def zero(head):
        def hook(z, hook):
            z[:, :, head] = 0.0

        return hook

    hooks = [(f"blocks.{layer}.attn.hook_z", zero(head)) for layer, head in ablated]
    logits = planted.model.run_with_hooks(tokens, hooks).numpy()
    losses = []
    for row, scores in zip(tokens.tolist(), logits, strict=True):
        for q in queries:
            losses.append(np.log(np.exp(scores[q]).sum()) - scores[q, row[q + 1]])
    return np.mean(losses)


def sole(planted, plant_name, part=None):
    (head,) = planted.key.find(plant_name, part)
    return head


# --- all recipes: the key is right, whatever the size ---


@pytest.mark.parametrize("name", RECIPES)
def test_every_fact_of_the_key_holds(name):
    for sizes in SIZES:
        if name == "adjective_noun":
            sizes = sizes | {"d_vocab": 43} if sizes else {}
        for result in check(plant(name, **sizes)):
            assert result.holds, result


def test_the_model_is_what_a_numpy_gpt_makes_of_its_weights():
    planted = plant("fact_memory", d_vocab=23, n_ctx=11)
    tokens = planted.prompts("fact_memory:relation_1").tokens
    for row, logits in zip(tokens[:3], planted.model(tokens[:3]), strict=True):
        oracle = activations(planted.model, row.tolist())["logits"]
        assert np.abs(oracle - logits.numpy()).max() < 1e-12


def test_a_model_is_ordinary():
    model = plant("induction_k").model
    assert model.config.norm == "none" and model.config.attn_only and not model.config.tied
    assert not any(p.requires_grad for p in model.parameters()) and not model.training
    ids = model.tokenizer.encode("w3 w5")
    assert ids == [0, 5, 7] and model.tokenizer.vocab_size == 32


# --- looking back ---


@BY_SIZE
def test_previous_token(sizes):
    planted = plant("previous_token", **sizes)
    tokens = planted.prompts("previous_token:random").tokens
    head = sole(planted, "previous_token")
    score = mean_attention(planted, head, tokens, lambda row, q: q - 1, range(1, tokens.shape[1]))
    assert score == pytest.approx(1.0, abs=1e-4)


def test_a_lag_decoy_is_perfect_on_naive_induction_and_its_contrast_is_zero():
    planted = plant("lag_decoys")
    head = sole(planted, "lag_decoys", "lag 14")
    prompts = repeats(planted, 15)

    def after_match(row, q):
        return row.index(row[q]) + 1

    naive = mean_attention(planted, head, prompts.tokens, after_match, range(16, 31))
    control = mean_attention(planted, head, prompts.control, lambda row, q: q - 14, range(16, 31))
    assert naive == pytest.approx(1.0, abs=1e-4)
    assert naive - control == pytest.approx(0.0, abs=1e-4)
    for period in (7, 11):
        other = repeats(planted, period).tokens
        queries = range(period + 1, 2 * period + 1)
        assert mean_attention(planted, head, other, after_match, queries) < 0.1


@BY_SIZE
def test_sinks_are_told_apart_without_bos(sizes):
    planted = zoo(("bos_sink", "position_sink"), **sizes)
    bos, position = sole(planted, "bos_sink"), sole(planted, "position_sink")
    with_bos = planted.prompts("bos_sink:random").tokens
    without = make_prompts(planted.key, Family("random", 5, options={"bos": False})).tokens
    queries = range(1, without.shape[1])

    def first(row, q):
        return 0

    assert mean_attention(planted, bos, with_bos, first, queries) == pytest.approx(1, abs=1e-4)
    assert mean_attention(planted, position, with_bos, first, queries) == pytest.approx(1, abs=1e-4)
    # A head without preference gives each of q + 1 keys the same.
    uniform = np.mean([1 / (q + 1) for q in queries])
    assert mean_attention(planted, bos, without, first, queries) == pytest.approx(uniform)
    assert mean_attention(planted, position, without, first, queries) == pytest.approx(1, abs=1e-4)
    last = pattern(planted, bos, without)[:, -1, 0]
    assert last == pytest.approx(1 / without.shape[1])


def test_null_sinks_have_attention_one_and_effect_zero():
    for name in ("bos_sink", "position_sink"):
        planted = zoo((name, "copy"))
        tokens = planted.prompts(f"{name}:random").tokens
        layer, head = sole(planted, name)
        attn = planted.model.blocks[layer].attn
        written = planted.model.W_E @ attn.W_V[head] @ attn.W_O[head]
        assert written.norm() == 0.0  # norm-weighted attention
        whole = planted.model(tokens)

        def zero(z, hook, head=head):
            z[:, :, head] = 0.0

        cut = planted.model.run_with_hooks(tokens, [(f"blocks.{layer}.attn.hook_z", zero)])
        assert whole.abs().max() > 7 and (whole - cut).abs().max() == 0.0


def test_a_bias_sink_writes_the_same_everywhere():
    planted = plant("bias_sink")
    logits = planted.model(planted.prompts("bias_sink:random").tokens)
    assert logits.std(dim=(0, 1)).max() < 1e-3
    # Zipf: log frequencies -log rank, centred, of length 1, times 8.
    log_frequency = [-math.log(rank) for rank in range(1, 31)]
    centred = np.array(log_frequency) - np.mean(log_frequency)
    expected = 8 * centred / np.sqrt((centred**2).sum())
    assert logits[0, 5, 2:].numpy() == pytest.approx(expected, abs=1e-3)


# --- matching ---


@pytest.mark.parametrize("name", ["induction_k", "induction_q"])
@BY_SIZE
def test_induction(name, sizes):
    planted = plant(name, **sizes)
    feeds, head = planted.key.find(name)
    V, period = planted.key.d_vocab, 15
    prompts = repeats(planted, period)
    tokens, second, first = prompts.tokens, range(period + 1, 2 * period), range(1, period)

    def after_match(row, q):
        return row.index(row[q]) + 1

    a = 1 / (1 + math.exp(-7))  # .99909
    queries = range(period + 1, 2 * period + 1)
    seen = mean_attention(planted, head, tokens, after_match, queries)
    assert seen == pytest.approx(a, abs=1e-4)
    resting = mean_attention(planted, head, prompts.control, lambda row, q: 0, queries)
    assert resting > 1 - 37 * math.exp(-7)
    assert block_loss(planted, tokens, second) == pytest.approx(
        math.log(1 + (V - 1) * math.exp(-8 * a)), abs=1e-3
    )  # .0105 at V = 32
    log_v = math.log(V)  # 3.466
    assert block_loss(planted, tokens, first) == pytest.approx(log_v, abs=0.01)
    assert block_loss(planted, tokens, second, [feeds]) == pytest.approx(log_v, abs=0.01)
    assert block_loss(planted, tokens, second, [head]) == pytest.approx(log_v, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "via", "times_root_d"),
    # 1 / sqrt(V) and 1 / sqrt(2m), both 1 / sqrt(32), times sqrt(160) and sqrt(128).
    [("induction_k", "K", 2.236), ("induction_q", "Q", 2.0)],
)
def test_composition(name, via, times_root_d):
    d = {"K": 160, "Q": 128}[via]
    planted = plant(name, d_model=d)
    (la, a), (lb, b) = planted.key.find(name)
    source, target = planted.model.blocks[la].attn, planted.model.blocks[lb].attn
    ov = (source.W_V[a] @ source.W_O[a]).numpy()
    qk = (target.W_Q[b] @ target.W_K[b].T).numpy()
    v = (target.W_V[b] @ target.W_O[b]).numpy()
    scores = {
        side: np.linalg.norm(ov @ matrix) / np.linalg.norm(ov) / np.linalg.norm(matrix)
        for side, matrix in (("Q", qk), ("K", qk.T), ("V", v))
    }
    for side, score in scores.items():
        expected = times_root_d if side == via else 0.0
        assert score * math.sqrt(d) == pytest.approx(expected, abs=1e-3)
    (edge,) = planted.key.edges
    assert (edge.source, edge.target, edge.via) == ((la, a), (lb, b), via)


@BY_SIZE
def test_duplicate_token(sizes):
    planted = plant("duplicate_token", **sizes)
    head, prompts = sole(planted, "duplicate_token"), repeats(planted, 13)
    queries = range(14, 27)
    seen = mean_attention(planted, head, prompts.tokens, lambda row, q: row.index(row[q]), queries)
    assert seen == pytest.approx(1 / (1 + math.exp(-7)), abs=1e-4)  # .99909
    own = mean_attention(planted, head, prompts.tokens, lambda row, q: q, queries)
    assert own < 1e-8
    resting = mean_attention(planted, head, prompts.control, lambda row, q: 0, queries)
    assert resting > 1 - 37 * math.exp(-7)


def test_a_redundant_pair_halves_the_logit_and_jointly_removes_it():
    planted = plant("redundant_pair")
    _, one, two = planted.key.find("redundant_pair")
    tokens, second = repeats(planted, 15).tokens, range(16, 30)
    a = 1 / (1 + math.exp(-7))
    whole = block_loss(planted, tokens, second)
    single = [block_loss(planted, tokens, second, [head]) for head in (one, two)]
    both = block_loss(planted, tokens, second, [one, two])
    assert whole == pytest.approx(math.log(1 + 31 * math.exp(-8 * a)), abs=1e-3)  # .0104
    assert single == pytest.approx([math.log(1 + 31 * math.exp(-4 * a))] * 2, abs=2e-3)  # .451
    assert both == pytest.approx(math.log(32))
    assert sum(single) - 2 * whole < 0.3 * (both - whole)  # so single ablations miss the circuit


# --- writing ---


def circuit(planted, head):
    """The full OV circuit, as a sum over head dimensions."""
    attn = planted.model.blocks[head[0]].attn
    W_E, W_U = planted.model.W_E.numpy(), planted.model.W_U.numpy()
    return (W_E @ attn.W_V[head[1]].numpy()) @ (attn.W_O[head[1]].numpy() @ W_U)


def eigenvalue_score(matrix):
    values = np.linalg.eigvals(matrix)
    size = np.abs(values).sum()
    return values.real.sum() / size if size else 0.0


def top1(matrix, wanted):
    words = range(2, len(matrix))
    return np.mean([matrix[word].argmax() == wanted(word) for word in words])


@BY_SIZE
def test_copying_and_its_relatives(sizes):
    planted = zoo(("copy", "anti_copy", "successor", "trap_rank_one", "trap_triangular"), **sizes)
    V = planted.key.d_vocab
    found = {name: circuit(planted, sole(planted, name)) for name in planted.key.recipes}
    scores = {name: eigenvalue_score(matrix) for name, matrix in found.items()}
    assert scores == pytest.approx(
        {
            "copy": 1.0,
            "anti_copy": -1.0,
            "successor": 0.0,
            "trap_rank_one": 1.0,
            "trap_triangular": 0.0,
        },
        abs=1e-6,
    )
    same = {name: top1(matrix, lambda word: word) for name, matrix in found.items()}
    assert same["copy"] == 1.0 and same["successor"] == 0.0
    assert same["trap_rank_one"] == pytest.approx(0.38, abs=0.5 / (V - 2))
    following = top1(found["successor"], lambda word: word + 1 if word < V - 1 else 2)
    assert following == 1.0
    # As large as the identity on words, and yet without any eigenvalue.
    assert np.linalg.norm(found["trap_triangular"]) == pytest.approx(8 * math.sqrt(V - 2))


def test_the_diagonal_of_anti_copying():
    """-5.48: 31 entries of -8 on the diagonal, among 1024."""
    matrix = circuit(plant("anti_copy"), (1, 0))
    entries = [-8.0] * 31 + [0.0] * 993
    z = (-8 * 31 / 32 - np.mean(entries)) / np.std(entries)
    assert z == pytest.approx(-5.48, abs=0.005)
    assert (np.diag(matrix).mean() - matrix.mean()) / matrix.std() == pytest.approx(z)


def test_attribution_of_an_erased_token_is_plus_and_minus_four_and_its_effect_zero():
    planted = plant("erasure_pair")
    writer, eraser = planted.key.find("erasure_pair")
    tokens = planted.prompts("erasure_pair:random").tokens
    names = [f"blocks.{layer}.attn.hook_result" for layer in (0, 1)]
    logits, cache = planted.model.run_with_cache(tokens, names, return_type="logits")
    for head, expected in ((writer, 4.0), (eraser, -4.0)):
        direct = cache["result", head[0]][:, :, head[1]] @ planted.model.W_U
        own = [direct[b, q, t] for b, row in enumerate(tokens) for q, t in enumerate(row)]
        assert np.mean(own) == pytest.approx(expected, abs=1e-3)

    def zero(z, hook):
        z[:, :, writer[1]] = 0.0

    cut = planted.model.run_with_hooks(tokens, [("blocks.0.attn.hook_z", zero)])
    assert (logits - cut).abs().max() < 1e-3


# --- words ---


def test_the_lectures_sentence():
    """Scores: adjective in reach 24, BOS 18, in reach 12, else 0."""
    planted = plant("adjective_noun", d_head=48)
    assert planted.key.d_vocab == 12 and planted.model.config.n_layers == 1
    words = ["<bos>", *LECTURE.split()]
    tokens, _ = planted.model.to_tokens(LECTURE)
    assert planted.model.tokenizer.str_tokens(tokens[0].tolist()) == words
    (rows,) = pattern(planted, (0, 0), tokens)

    def attention(query, target):
        return rows[words.index(query), words.index(target)]

    assert attention("creature", "fluffy") == pytest.approx(0.499, abs=5e-4)
    assert attention("creature", "blue") == pytest.approx(0.499, abs=5e-4)
    # Adjective at 24 against BOS, the two others in reach, and two adjectives out of reach.
    weights = [math.exp(24), math.exp(18), *[math.exp(12)] * 4, *[1.0] * 4]
    assert attention("forest", "verdant") == pytest.approx(math.exp(24) / sum(weights))  # .998
    weights = [math.exp(18), *[math.exp(12)] * 3, 1.0, 1.0]
    assert attention("roaming", "<bos>") == pytest.approx(math.exp(18) / sum(weights))  # .993
    # What is written is the attributes, half and half.
    logits = planted.model(tokens)[0, words.index("creature")]
    said = {word: logits[planted.model.tokenizer.ids[word]] / 8 for word in words}
    assert said["fluffy"] == pytest.approx(0.499, abs=5e-4)
    assert said["blue"] == pytest.approx(0.499, abs=5e-4)
    assert said["verdant"] == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize(
    ("eta", "pairs", "direction"), [(0.5, 0.889, 0.998), (1, 0.667, 0.994), (2, 0.333, 0.976)]
)
def test_the_law_of_planted_gender(eta, pairs, direction):
    """4 / (4 + 2 eta^2), and 1 / sqrt(1 + 2 eta^2 / 4n) for n = 40 pairs."""
    cosines, with_direction = [], []
    for seed in range(5):
        planted = plant("gender", eta=float(eta), seed=seed)
        W_E, lexicon = planted.model.W_E.numpy(), planted.key.lexicon
        differences = W_E[list(lexicon["female"])] - W_E[list(lexicon["male"])]
        assert len(differences) == 40
        unit = differences / np.linalg.norm(differences, axis=1)[:, None]
        cosines.append(np.mean((unit @ unit.T)[~np.eye(40, dtype=bool)]))
        g, mean = np.array(planted.key.directions["gender"]), differences.mean(0)
        with_direction.append(g @ mean / np.linalg.norm(g) / np.linalg.norm(mean))
    for values, expected, tolerance in (
        (cosines, pairs, 0.02),
        (with_direction, direction, 0.004),
    ):
        assert np.mean(values) == pytest.approx(expected, abs=tolerance)


def test_analogies_of_a_weak_direction_succeed_only_with_the_input_words_left_out():
    """man : woman = king : ?, at a cosine of one third between differences."""
    planted = plant("gender", eta=2.0, d_vocab=212)
    W_E, lexicon = planted.model.W_E.numpy(), planted.key.lexicon
    unit = W_E / np.maximum(np.linalg.norm(W_E, axis=1), 1e-9)[:, None]
    left_out, let_in, neighbour = [], [], []
    pairs = list(zip(lexicon["male"], lexicon["female"], strict=True))[:12]
    for i, (a, b) in enumerate(pairs):
        for j, (c, wanted) in enumerate(pairs):
            if i != j:
                scores = unit @ (W_E[b] - W_E[a] + W_E[c])
                let_in.append(scores.argmax() == wanted)
                scores[[a, b, c]] = -np.inf
                left_out.append(scores.argmax() == wanted)
                near = unit @ W_E[c]
                near[c] = -np.inf
                neighbour.append(near.argmax() == wanted)
    assert np.mean(left_out) > 0.9 and np.mean(let_in) < 0.1 and np.mean(neighbour) > 0.9


def test_moving_along_the_gender_direction_moves_every_pair():
    planted = plant("gender")
    lexicon, model = planted.key.lexicon, planted.model
    g = torch.tensor(planted.key.directions["gender"], dtype=torch.float64)
    tokens = torch.tensor([[0, 5, 9]])

    def steer(resid, hook):
        return resid + 3 * g

    moved = model.run_with_hooks(tokens, [("blocks.0.hook_resid_post", steer)]) - model(tokens)
    female, male = (moved[0, 0, list(lexicon[name])] for name in ("female", "male"))
    # The difference of a pair is 2 g and what is orthogonal to it; W_U has 8/9 of each vector.
    assert (female - male).tolist() == pytest.approx([3 * 2 * 8 / 9] * 40, abs=1e-9)


@BY_SIZE
def test_causal_tracing_of_a_fact_lights_two_places(sizes):
    """By hand: every MLP and head at every position, patched into the run with another subject."""
    planted = plant("fact_memory", **sizes)
    model, prompts = planted.model, planted.prompts("fact_memory:relation_0", n_prompts=2)
    late, head = planted.key.find("fact_memory", "relation 0")[0]
    early = sizes.get("layers", (0, 1))[0]

    def difference(logits, i):
        return (logits[i, -1, prompts.answers[i, -1]] - logits[i, -1, prompts.rivals[i, -1]]).item()

    logits, clean = model.run_with_cache(prompts.tokens)
    corrupted = model(prompts.corrupted)
    for i in range(2):
        whole, none = difference(logits, i), difference(corrupted, i)
        assert whole == pytest.approx(8 / (1 + math.exp(-7)), abs=0.01) == -none
    lit = {}
    for name in clean:
        if not name.endswith(("mlp_out", "hook_z")):
            continue
        for place in range(prompts.tokens.shape[1]):
            for h in range(2) if name.endswith("z") else (slice(None),):

                def patch(value, hook, place=place, h=h):
                    value[:, place, h] = clean[hook.name][:, place, h]

                patched = model.run_with_hooks(prompts.corrupted, [(name, patch)])
                for i in range(2):
                    whole, none = difference(logits, i), difference(corrupted, i)
                    share = (difference(patched, i) - none) / (whole - none)
                    if share > 1e-3:
                        lit[i, name, place, h if name.endswith("z") else None] = share
    subject, last = prompts.marks["subject"].tolist(), prompts.tokens.shape[1] - 1
    expected = {}
    for i in range(2):
        expected[i, f"blocks.{early}.hook_mlp_out", subject[i], None] = 1.0
        expected[i, f"blocks.{late}.attn.hook_z", last, head] = 1.0
    assert lit == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("strategy", "right"), [("syntactic", [1, 1, 1]), ("nearest", [1, 0, 0])])
def test_agreement_with_attractors(strategy, right):
    planted = plant("agreement", strategy=strategy)
    logits = [float(_says_answer(planted, f"agreement:attractors_{k}").mean()) for k in (0, 1, 2)]
    margin = 8 / (1 + math.exp(-7)) if strategy == "syntactic" else 8.0
    assert logits == pytest.approx([margin if r else -margin for r in right], abs=0.01)
    head_noun = planted.key.find("agreement", "head noun")[0]
    nearest = planted.key.find("agreement", "nearest noun")[0]
    prompts = planted.prompts("agreement:attractors_2")
    for head, mark, expected in (
        (head_noun, "head_noun", 0.999),
        (nearest, "nearest_noun", 1.0),
        (nearest, "head_noun", 0.0),
        (head_noun, "nearest_noun", 0.0),
    ):
        rows = pattern(planted, head, prompts.tokens)
        seen = [rows[i, -1, place] for i, place in enumerate(prompts.marks[mark])]
        assert np.mean(seen) == pytest.approx(expected, abs=1e-3)


def _says_answer(planted, family):
    prompts = planted.prompts(family)
    last = planted.model(prompts.tokens)[:, -1]
    answers, rivals = prompts.answers[:, -1:], prompts.rivals[:, -1:]
    return last.gather(1, answers) - last.gather(1, rivals)


def test_agreement_falls_with_the_determiner_mark():
    """The three ablations that the plant predicts, in logits of answer minus rival."""
    planted = plant("agreement")
    for part, expected in (("determiner mark", 0.0), ("head noun", 0.0), ("nearest noun", 8.0)):
        (layer, head) = planted.key.find("agreement", part)[0]
        prompts = planted.prompts("agreement:attractors_1")

        def zero(z, hook, head=head):
            z[:, :, head] = 0.0

        cut = planted.model.run_with_hooks(prompts.tokens, [(f"blocks.{layer}.attn.hook_z", zero)])[
            :, -1
        ]
        left = cut.gather(1, prompts.answers[:, -1:]) - cut.gather(1, prompts.rivals[:, -1:])
        assert float(left.mean()) == pytest.approx(expected, abs=0.05)
