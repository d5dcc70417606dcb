"""How is text cut into tokens, and to which token does a space belong?

The model's own tokenizer is measured on words of several kinds. Beside it a small byte-pair
encoding is trained step by step on text of the model's kind, and held against the `tokenizers`
library, so that also a model of whole words shows where pieces come from.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from interp import plots
from interp.reporting import Cell, FigurePart, Finding, Sentence, StudyResult, Table
from studies import NotApplicable, StudyConfig, _prompts, _texts, provenance, questions

if TYPE_CHECKING:
    import pandas as pd

    from interp.core import HookedGPT

NAME = "tokenization"
LECTURE = "Hello, world!"
NOTES_CUT = 4  # the notes' [Hello][,][world][!]
GPT2_IDS = [15496, 11, 995, 0]
TEXTS = (LECTURE, "world", " world", "Where is the unbelievably small café?", "ıšğ")
OWN_TEXTS = ("the fluffy blue creature sleeps in the forest .", "A mole , the tower .")
WORDS = {
    "common English words": (
        *("the", "water", "people", "house", "school", "night", "world", "music", "river"),
        *("friend", "morning", "question", "because", "together", "different", "important"),
    ),
    "rare English words": (
        *("photosynthesis", "sesquipedalian", "perspicacious", "mellifluous", "defenestration"),
        *("obfuscation", "borborygmus", "quixotically", "antediluvian", "tergiversation"),
    ),
    "invented words": (
        *("blorfing", "quxotly", "snarvish", "grimbled", "zorptak", "flentwick", "dwizzle"),
        *("prantoom", "yevrix", "clumbergast"),
    ),
    "numbers": ("7", "42", "365", "1984", "31415", "271828", "1000000", "8675309"),
    "Korean words": ("안녕하세요", "토큰", "언어", "모델", "사전", "고양이", "바다", "학교"),
    "emoji": ("🙂", "🐈", "🌳", "🚀", "🎲", "👩‍🔬"),
}
PLAIN = (
    *("time", "day", "year", "way", "man", "thing", "life", "child", "eye", "woman", "place"),
    *("work", "week", "case", "point", "company", "number", "group", "problem", "fact"),
)
OWN = "words of the small language"


@dataclass(frozen=True)
class Config(StudyConfig):
    """Options of the study."""

    n_merges: int = 150
    """Merges of the byte-pair encoding that is trained step by step."""
    n_texts: int = 40
    """Texts it is trained on; as many others are kept apart to measure it."""


def run(
    model: "HookedGPT", config: Config, progress: Callable[[str, int, int], None] | None = None
) -> StudyResult:
    """Measures the tokenizer and trains a small one.

    Args:
        model: a model with a tokenizer.
        config: the options.
        progress: called with what is being done, how much of it is done, and how much there is.

    Raises:
        NotApplicable: the model has no tokenizer, or its text is not known.
    """
    say, steps = progress or (lambda *_: None), 2
    if model.tokenizer is None:
        raise NotApplicable(f"{model.name} has no tokenizer: it reads numbers, not text")
    n_texts = 16 if config.quick else config.n_texts
    n_merges = min(60, config.n_merges) if config.quick else config.n_merges
    config = replace(config, n_texts=min(n_texts, config.limit or n_texts), n_merges=n_merges)
    say("the tokenizer", 0, steps)
    tables = _tokenizer_tables(model, config)
    say("byte-pair encoding", 1, steps)
    tables |= _bpe_tables(model, config)
    tables["overview"] = _overview(model, tables)
    figures = [_pieces(tables), _words(tables), _merges(tables)]
    if len(tables["twins"].frame) > 1:
        figures.append(_twins(tables))
    say("done", steps, steps)
    return StudyResult(
        study=NAME,
        question=questions()[NAME],
        model=model.name,
        headline=_headline(),
        tables=tables,
        figures=tuple(figures),
        findings=(_finding(tables),),
        provenance=provenance(
            NAME,
            model,
            config,
            tokenizer=type(model.tokenizer).__name__,
            words=f"{sum(map(len, WORDS.values()))} words of {len(WORDS)} kinds",
        ),
    )


# ---------------------------------------------------------------------------------- measure


def _tokenizer_tables(model: "HookedGPT", config: Config) -> dict[str, Table]:
    import pandas as pd

    from interp import measures

    own = _prompts.speaks_the_language(model)
    texts = (*OWN_TEXTS, LECTURE) if own else TEXTS
    groups = dict(WORDS)
    if own:
        words = [w for w in model.tokenizer.vocab if w.isalpha()]
        groups = {OWN: random.Random(config.seed).sample(words, 30)} | groups
    words = measures.pieces_per_word(model.tokenizer, groups)
    cut = measures.pieces(model.tokenizer, texts)
    cut.insert(0, "reader", "the model")
    common = [word for group in list(WORDS)[:2] for word in WORDS[group]]
    twins = measures.space_twins(
        model.tokenizer, model.W_E.float().cpu().numpy(), [*common, *_english()], config.seed
    )
    return {
        "pieces": Table(cut, "One row per token of each text; an error where it cannot be cut"),
        "groups": Table(
            pd.DataFrame([_group(name, rows, config.seed) for name, rows in _in_order(words)]),
            "One row per kind of words: tokens per word (mean over the words it knows, 95 % "
            "interval), bytes per word, shares of words that are known, come back unchanged, and "
            "whose space is part of their first token",
        ),
        "words": Table(words, "One row per word: its tokens, bare and after a space"),
        "twins": Table(
            twins,
            "One row per word that is one token with and without the space: cosine of the two "
            "embeddings, and with another word's",
        ),
    }


def _english() -> list[str]:
    from studies import _english

    names = (*_english.NAMES, *_english.THINGS, *_english.PLACES)
    return [*names, *PLAIN]


def _in_order(words: "pd.DataFrame"):
    return words.groupby("group", sort=False)


def _group(name: str, rows: "pd.DataFrame", seed: int) -> dict[str, object]:
    from interp import measures

    known = rows.loc[rows["known"], "pieces"].to_numpy(dtype=float)
    low = high = pieces = float("nan")
    if len(known):
        (low,), (high,) = measures.bootstrap_interval(known[:, None], seed=seed)
        pieces = known.mean()
    return {
        "group": name,
        "pieces": pieces,
        "ci_low": low,
        "ci_high": high,
        "bytes": rows["bytes"].mean(),
        "known_share": rows["known"].mean(),
        "round_trip": rows["round_trip"].mean(),
        "space_joined": rows["space_joined"].mean(),
        "n": len(rows),
    }


def _bpe_tables(model: "HookedGPT", config: Config) -> dict[str, Table]:
    import pandas as pd

    from interp import measures

    train, held_out = (_plain_text(model, config, half) for half in (0, 1))
    merges = measures.train_bpe(train, config.n_merges)
    learned = list(zip(merges["left"], merges["right"], strict=True))
    letters = list(train)
    random.Random(config.seed).shuffle(letters)
    shuffled = measures.train_bpe("".join(letters), len(learned))
    others = {
        "trained": learned,
        "shuffled": list(zip(shuffled["left"], shuffled["right"], strict=True)),
        "random": measures.random_merges(train, len(learned), config.seed),
    }
    curves = pd.DataFrame({"merges": range(len(learned) + 1)})
    for name, pairs in others.items():
        per_token = measures.compression(held_out, pairs)["bytes_per_token"]
        curves[name] = per_token.reindex(curves.index).ffill()
    words = sorted({word.strip() for word in held_out.split() if word.isalpha()})
    demo = [measures.bpe_words(pairs, words).assign(merges=name) for name, pairs in others.items()]
    fewest = demo[0].assign(length=demo[0]["word"].str.len())
    fewest = fewest.sort_values(["pieces", "length", "word"], ascending=[True, False, True])
    library = _library_merges(train, len(learned))
    sample = OWN_TEXTS[0].replace(" .", ".")
    cut = [
        piece
        for word in measures.word_counts(sample)
        for piece in measures.bpe_pieces(learned, word)
    ]
    same = [a == b for a, b in zip(learned, library, strict=False)]
    return {
        "merges": Table(
            merges, "One row per merge: the pair, how often it occurred, and the tokens left"
        ),
        "curves": Table(
            curves,
            "One row per number of merges: bytes per token of held-out text with merges learned "
            "from the text, from its letters in random order, and taken at random",
        ),
        "word_steps": Table(
            measures.bpe_steps(learned, f"Ġ{fewest['word'].iloc[0]}"),
            "One row per merge that changes the word, the single bytes first",
        ),
        "demo_words": Table(
            pd.concat(demo, ignore_index=True),
            "One row per word of the held-out text and kind of merges: pieces after a space, and "
            "whether the space is part of the first one",
            in_page=False,
        ),
        "demo_pieces": Table(
            pd.DataFrame({"text": sample, "place": range(len(cut)), "piece": cut}),
            "One row per piece of a sentence in the small byte-pair encoding (Ġ is the space)",
        ),
        "library": Table(
            pd.DataFrame(
                [
                    {
                        "merges": len(learned),
                        "library_merges": len(library),
                        "same": sum(same) / max(len(learned), len(library)),
                        "shuffled_same": sum(
                            a == b for a, b in zip(others["shuffled"], library, strict=False)
                        )
                        / len(library),
                    }
                ]
            ),
            "The same training by the tokenizers library: share of merges that agree, one by one",
        ),
    }


def _plain_text(model: "HookedGPT", config: Config, half: int) -> str:
    """Text of the model's kind, written as people write it."""
    from studies import _english

    if not _prompts.speaks_the_language(model):
        texts = _english.stories(2 * config.n_texts, config.seed)
        return "\n".join(text for _, text in texts[half::2])
    prompts = _texts.text_of(model, 2 * config.n_texts, config.seed)
    rows = [row for batch in prompts.batches for row in batch.tokens[half::2, 1:]]
    joined = [model.tokenizer.decode(row.tolist()) for row in rows]
    return "\n".join(text.replace(" .", ".").replace(" ,", ",") for text in joined)


def _library_merges(text: str, n_merges: int) -> list[tuple[str, str]]:
    """What the tokenizers library learns from the same text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    from interp import measures

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = len(set("".join(measures.word_counts(text))))
    trainer = trainers.BpeTrainer(
        vocab_size=alphabet + n_merges, min_frequency=2, show_progress=False
    )
    tokenizer.train_from_iterator([text], trainer)
    return [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


def _overview(model: "HookedGPT", tables: dict[str, Table]) -> Table:
    import pandas as pd
    import scipy.stats

    pieces = tables["pieces"].frame
    lecture = pieces[pieces["text"] == LECTURE]
    known = bool((lecture["place"] >= 0).all())
    demo = tables["demo_words"].frame.groupby("merges", sort=False)["space_joined"]
    words = tables["words"].frame
    own = words[words["known"]]
    source = own["space_joined"] if known else demo.get_group("trained")
    joined = int(source.sum())
    ends = scipy.stats.binomtest(joined, len(source)).proportion_ci(method="wilson")
    groups = tables["groups"].frame
    curves = tables["curves"].frame.iloc[-1]
    return Table(
        pd.DataFrame(
            [
                {
                    "d_vocab": model.config.d_vocab,
                    "lecture_known": int(known),
                    "lecture_tokens": len(lecture) if known else 0,
                    "lecture_ids": ", ".join(map(str, lecture["token"])) if known else "none",
                    "third": lecture["piece"].iloc[2] if known and len(lecture) > 2 else "none",
                    "as_gpt2": int(lecture["token"].tolist() == GPT2_IDS),
                    "joined": joined / len(source),
                    "joined_low": ends.low,
                    "joined_high": ends.high,
                    "joined_random": demo.get_group("random").mean(),
                    "joined_n": len(source),
                    "first_group": groups["group"].iloc[0],
                    "first_pieces": groups["pieces"].iloc[0],
                    "first_bytes": groups["bytes"].iloc[0],
                    "unknown_share": 1 - words["known"].mean(),
                    "round_trip": own["round_trip"].mean(),
                    "bytes_per_token": curves["trained"],
                    "random_bytes_per_token": curves["random"],
                    "shuffled_bytes_per_token": curves["shuffled"],
                    "n_merges": int(curves["merges"]),
                    "twins": len(tables["twins"].frame),
                    "twin_cosine": tables["twins"].frame["cosine"].mean(),
                    "other_cosine": tables["twins"].frame["other_cosine"].mean(),
                }
            ]
        ).dropna(axis="columns"),
        "In all; `joined` is the share of words whose space is part of their first token",
    )


# ------------------------------------------------------------------------------------- draw


def _cell(column: str) -> Cell:
    return Cell("overview", 0, column)


def _pieces(tables: dict[str, Table]) -> FigurePart:
    known = tables["overview"].frame["lecture_known"].iloc[0] == 1
    if known:
        answer = Sentence(
            "“Hello, world!” becomes {n} tokens: {ids}. The third is “{third}”, with its space, "
            "which is another token than the bare word; a vocabulary without merges would take 13.",
            n=_cell("lecture_tokens"),
            ids=_cell("lecture_ids"),
            third=_cell("third"),
        )
    else:
        answer = Sentence(
            "This vocabulary holds whole words: each word or mark is one of {d_vocab} tokens, "
            "spaces belong to none, and what is not listed cannot be read ({unknown:.2f} of the "
            "words tried, “Hello” among them). A byte-level vocabulary would refuse none.",
            d_vocab=_cell("d_vocab"),
            unknown=_cell("unknown_share"),
        )
    return FigurePart(
        name="pieces",
        question="Where are texts cut?",
        picture=plots.token_boxes(_boxes(tables)),
        alt=Sentence(
            "Texts as rows of boxes, a box per token with its number; {n} tokens for “Hello, "
            "world!” (0: it cannot be read).",
            n=_cell("lecture_tokens"),
        ),
        answer=answer,
        tables=("pieces", "demo_pieces"),
        how_to_read="A box is a token, with its number; a dot is a space. Colours only tell "
        "neighbours apart. A text that the vocabulary cannot spell is shown as such.",
        scene="“But what is a GPT?”: text is broken into tokens",
        change_our_mind=Sentence(
            "The bare word and the word after a space being the same token: then the space would "
            "belong to neither. It is part of the word's token for {joined:.2f} of {n} words "
            "(after as many random merges: {null:.2f}).",
            joined=_cell("joined"),
            n=_cell("joined_n"),
            null=_cell("joined_random"),
        ),
        facts={"null": "no merges: one token per byte"},
    )


def _boxes(tables: dict[str, Table]) -> "pd.DataFrame":
    """The model's tokens, and under them the small byte-pair encoding's."""
    import pandas as pd

    demo = tables["demo_pieces"].frame.assign(reader="small byte-pair encoding", token=-1)
    demo["piece"] = demo["piece"].str.replace("Ġ", " ")
    return pd.concat([tables["pieces"].frame, demo], ignore_index=True)


def _words(tables: dict[str, Table]) -> FigurePart:
    cells = {
        "group": _cell("first_group"),
        "pieces": _cell("first_pieces"),
        "bytes": _cell("first_bytes"),
        "unknown": _cell("unknown_share"),
    }
    return FigurePart(
        name="pieces_per_word",
        question="How many tokens does a word take?",
        picture=plots.pieces_by_group(tables["groups"].frame),
        alt=Sentence(
            "One row per kind of words, with mean tokens and mean bytes per word. {group}: "
            "{pieces:.2f} tokens, {bytes:.1f} bytes.",
            **{n: cells[n] for n in ("group", "pieces", "bytes")},
        ),
        answer=Sentence(
            "{group}: {pieces:.2f} tokens per word, where single bytes would be {bytes:.1f}. Of "
            "all words tried {unknown:.2f} cannot be spelled; of the others {round_trip:.2f} come "
            "back unchanged.",
            round_trip=_cell("round_trip"),
            **cells,
        ),
        tables=("groups", "words"),
        how_to_read="The round point is what the tokenizer needs, the diamond what single bytes "
        "would need; a vocabulary that knows a kind of words brings the point to the dashed line. "
        "Words that cannot be spelled are counted, not dropped.",
        change_our_mind=Sentence(
            "Points as far right as the diamonds: then the vocabulary would know nothing about "
            "words. {group}: {pieces:.2f} against {bytes:.1f}.",
            **{n: cells[n] for n in ("group", "pieces", "bytes")},
        ),
        facts={"null": "bytes per word"},
    )


def _merges(tables: dict[str, Table]) -> FigurePart:
    cells = {
        "n": _cell("n_merges"),
        "trained": _cell("bytes_per_token"),
        "random": _cell("random_bytes_per_token"),
        "shuffled": _cell("shuffled_bytes_per_token"),
    }
    return FigurePart(
        name="merges",
        question="How does byte-pair encoding find its pieces?",
        picture=plots.merge_curves(tables["curves"].frame, tables["word_steps"].frame),
        alt=Sentence(
            "Left, bytes per token rising with the merges to {trained:.2f} after {n}; merges from "
            "shuffled letters reach {shuffled:.2f}, random ones {random:.2f}. Right, one word "
            "through the merges.",
            **cells,
        ),
        answer=Sentence(
            "After {n} merges a token holds {trained:.2f} bytes of held-out text; with merges "
            "learned from shuffled letters {shuffled:.2f}, with random ones {random:.2f}. The "
            "first merge joins “{left}” and “{right}”. The tokenizers library makes the same "
            "merges: {same:.3f} agree.",
            left=Cell("merges", 0, "left"),
            right=Cell("merges", 0, "right"),
            same=Cell("library", 0, "same"),
            **cells,
        ),
        tables=("merges", "curves", "word_steps", "library"),
        how_to_read="Each merge joins the commonest pair of neighbours, so the curve rises fast at "
        "first. Ġ is the space: it joins its word early, because most words follow one. On the "
        "right, each line is the word after one more merge that touches it.",
        change_our_mind=Sentence(
            "Shuffled letters that do as well: then there would be no words to find. They reach "
            "{shuffled:.2f} bytes per token, the text itself {trained:.2f}.",
            shuffled=cells["shuffled"],
            trained=cells["trained"],
        ),
        facts={"null": "merges from shuffled letters; random merges"},
    )


def _twins(tables: dict[str, Table]) -> FigurePart:
    cells = {
        "cosine": _cell("twin_cosine"),
        "other": _cell("other_cosine"),
        "n": _cell("twins"),
    }
    frame = tables["twins"].frame
    alike = abs(frame["cosine"].mean() - frame["other_cosine"].mean()) < 0.05
    return FigurePart(
        name="twins",
        question="Does the model know that a word with and without its space is the same word?",
        picture=plots.twin_cosines(frame),
        alt=Sentence(
            "Histogram of cosines between a word's embedding and that of its form after a space, "
            "mean {cosine:.2f}, beside those with other words, mean {other:.2f}.",
            cosine=cells["cosine"],
            other=cells["other"],
        ),
        answer=Sentence(
            "The mean cosine of the two embeddings of a word is {cosine:.2f}; with another word's "
            "it is {other:.2f} (n = {n} words that are one token in both forms).",
            **cells,
        ),
        tables=("twins",),
        how_to_read="The two forms are different tokens with different vectors: nothing but "
        "training can bring them together. The hatched bars show how similar two words are anyway.",
        change_our_mind=Sentence(
            "Other words as similar: {other:.2f} against {cosine:.2f}.",
            other=cells["other"],
            cosine=cells["cosine"],
        ),
        facts={"null": "the spaced form of another word"},
        uninformative="The two forms are no more alike than two words are, as with random weights."
        if alike
        else "",
    )


def _headline() -> Sentence:
    return Sentence(
        "The space belongs to the word's token for {joined:.2f} of {n} words (random merges: "
        "{null:.2f}); {unknown:.2f} of the words tried cannot be spelled.",
        joined=_cell("joined"),
        n=_cell("joined_n"),
        null=_cell("joined_random"),
        unknown=_cell("unknown_share"),
    )


# --------------------------------------------------------------------------------- conclude


def _finding(tables: dict[str, Table]) -> Finding:
    overview = tables["overview"].frame.iloc[0]
    cells = {
        "joined": _cell("joined"),
        "low": _cell("joined_low"),
        "high": _cell("joined_high"),
        "null": _cell("joined_random"),
        "n": _cell("joined_n"),
    }
    if overview["lecture_known"]:
        statement = Sentence(
            "“Hello, world!” becomes {tokens} tokens ({ids}), not [Hello][,][world][!]: the space "
            "is part of the word's token, for {joined:.2f} of {n} words (95 % interval {low:.2f} "
            "to {high:.2f}; after random merges {null:.2f}).",
            tokens=_cell("lecture_tokens"),
            ids=_cell("lecture_ids"),
            **cells,
        )
    else:
        statement = Sentence(
            "This model reads whole words and has no “Hello”; it cuts its own text as the notes "
            "do, words and marks apart. In a byte-pair encoding of the same text the space belongs "
            "to the word's token for {joined:.2f} of {n} words (95 % interval {low:.2f} to "
            "{high:.2f}; random merges {null:.2f}).",
            **cells,
        )
    return Finding(
        7,
        "imprecise",
        statement.text(tables),
        value=overview["joined"],
        unit="share of words whose space is part of their token",
        ci_low=overview["joined_low"],
        ci_high=overview["joined_high"],
        null=overview["joined_random"],
        null_name="as many random merges",
        n=overview["joined_n"],
        figure="pieces",
    )


if __name__ == "__main__":
    import sys

    from interp.cli import main

    raise SystemExit(main(["run", NAME, *sys.argv[1:]]))
