"""Words of known relations: those of the small language, and English ones for other models."""

from dataclasses import dataclass, field

# Each relation: words that differ in the same way, in the same order.
ENGLISH: dict[str, str] = {
    "gender": "man woman king queen boy girl father mother brother sister husband wife uncle aunt "
    "son daughter prince princess actor actress nephew niece grandfather grandmother he she his "
    "her himself herself gentleman lady male female",
    "noun number": "cat cats dog dogs house houses tree trees river rivers book books horse horses "
    "car cars song songs bird birds road roads door doors chair chairs king kings teacher teachers "
    "farm farms cloud clouds letter letters",
    "verb number": "runs run walks walk sings sing writes write plays play eats eat sleeps sleep "
    "reads read builds build grows grow stands stand works work opens open falls fall",
    "tense": "walk walked play played open opened call called help helped start started look "
    "looked ask asked turn turned move moved run ran write wrote see saw give gave take took",
    "participle": "walk walking play playing open opening call calling help helping start starting "
    "look looking ask asking turn turning sing singing read reading build building fall falling",
    "comparative": "big bigger small smaller fast faster slow slower old older young younger hot "
    "hotter cold colder long longer short shorter strong stronger weak weaker rich richer dark "
    "darker",
    "superlative": "big biggest small smallest fast fastest old oldest young youngest hot hottest "
    "long longest short shortest strong strongest weak weakest rich richest high highest",
    "capital": "Paris France Rome Italy London England Berlin Germany Madrid Spain Vienna Austria "
    "Athens Greece Tokyo Japan Cairo Egypt Lima Peru Moscow Russia Oslo Norway Beijing China "
    "Dublin Ireland Ottawa Canada",
    "country": "France French Italy Italian England English Germany German Spain Spanish Austria "
    "Austrian Greece Greek Japan Japanese Egypt Egyptian Russia Russian China Chinese Ireland "
    "Irish Canada Canadian India Indian Mexico Mexican",
    "adverb": "quick quickly slow slowly quiet quietly happy happily sad sadly bad badly clear "
    "clearly sudden suddenly soft softly strong strongly free freely easy easily",
    "opposite": "hot cold big small old new high low fast slow light dark happy sad rich poor "
    "strong weak long short good bad early late open closed up down",
    "maker": "teach teacher write writer sing singer farm farmer paint painter play player lead "
    "leader run runner drive driver build builder work worker read reader",
}

# Two lists that might lean, and the two sides: (name, X, Y, A, B).
ENGLISH_BIAS: tuple[tuple[str, str, str, str, str], ...] = (
    (
        "career and family, men and women",
        "career business office salary management company profession work",
        "family home children parents marriage wedding cousins house",
        "he him his man men boy father son brother",
        "she her hers woman women girl mother daughter sister",
    ),
    (
        "science and arts, men and women",
        "science physics chemistry engineering technology mathematics computer experiment",
        "art poetry dance literature novel music drama sculpture",
        "he him his man men boy father son brother",
        "she her hers woman women girl mother daughter sister",
    ),
    (
        "flowers and insects, pleasant and unpleasant",
        "rose lily daisy tulip flower garden blossom iris",
        "ant wasp fly spider moth flea beetle insect",
        "love peace friend joy pleasure happy gift laughter",
        "hate war enemy pain death sick poison disaster",
    ),
)

# Our own judgement, 0 (unrelated) to 4 (nearly the same).
ENGLISH_SIMILARITY = """
car automobile 4, big large 4, begin start 4, road street 3.5, happy glad 4, sick ill 4,
boat ship 3.5, stone rock 3.5, child kid 3.5, quick fast 4, gift present 3.5, answer reply 4,
doctor nurse 2.5, king queen 2.5, cat dog 2.5, river lake 2.5, bread cheese 2, chair table 2.5,
apple orange 2.5, red blue 2.5, train bus 2.5, teacher student 2, hand foot 2.5, Paris London 2.5,
doctor hospital 2, bird sky 1, king crown 1.5, bread kitchen 1, car road 1.5, fish water 1.5,
cat yellow 0, king potato 0, table courage 0, river engine 0, happy brick 0, train honey 0,
apple justice 0, music spoon 0, chair thunder 0, doctor cloud 0, window anger 0, paper whale 0
"""

# Words of six kinds, to be told from their vectors.
ENGLISH_CLASSES: dict[str, str] = {
    "animal": "cat dog horse cow bird fish lion tiger bear wolf sheep rabbit mouse snake",
    "colour": "red blue green yellow white black brown pink purple grey orange golden",
    "country": "France Italy Germany Spain Greece Japan Egypt Russia China India Canada Mexico",
    "body": "hand foot head arm leg eye ear nose mouth heart knee finger skin bone",
    "verb": "run walk sing write play eat sleep read build grow stand fall speak throw",
    "adverb": "quickly slowly quietly happily badly clearly suddenly softly strongly easily",
}

# Synonyms, for the question whether similar words lie close.
ENGLISH_SYNONYMS = (
    "car automobile big large begin start road street happy glad sick ill boat ship stone rock "
    "child kid quick fast gift present answer reply shop store small little end finish sad unhappy"
)

# What a steered word changes next: (relation, template, words of the second side, of the first).
ENGLISH_READOUTS: tuple[tuple[str, str, str, str], ...] = (
    ("gender", "The {} said that", "she", "he"),
    ("noun number", "The {}", "are were have", "is was has"),
)

LOOKED_UP_ENGLISH = ("king", "tower", "Paris", "happy", "dog", "walked")
LOOKED_UP_OWN = ("king", "tower", "paris", "happy", "dog", "mole")
EXAMPLE_OWN = EXAMPLE_ENGLISH = ("man", "woman", "king", "queen")
N_PARSED = 250  # windows of 64 words from which the marks of words are read


@dataclass(frozen=True)
class Lists:
    """Word lists of a language.

    Attributes:
        relations: pairs of words by relation; the first is the one that is drawn.
        null_relation: a relation whose pairs are known to differ in nothing; "" if there is none.
        bias: name, X, Y, A, B.
        null_bias: the same for lists that are known not to lean.
        similarity: word, word, rating.
        classes: word -> class.
        synonyms: pairs of words that mean the same.
        readouts: relation, template, words that the second side favours, words of the first.
        looked_up: words whose neighbours are shown.
        example: a, b, c, d.
        rated_by: who says how similar words are.
    """

    relations: dict[str, list[tuple[str, str]]]
    null_relation: str
    bias: tuple[tuple[str, list[str], list[str], list[str], list[str]], ...]
    null_bias: tuple[tuple[str, list[str], list[str], list[str], list[str]], ...]
    similarity: list[tuple[str, str, float]]
    classes: dict[str, str]
    synonyms: list[tuple[str, str]]
    readouts: tuple[tuple[str, str, list[str], list[str]], ...]
    looked_up: tuple[str, ...]
    example: tuple[str, str, str, str]
    rated_by: str
    occupations: list[str] = field(default_factory=list)


def english() -> Lists:
    """Lists for a model that reads English."""
    rated = [entry.split() for entry in ENGLISH_SIMILARITY.replace("\n", " ").split(",")]
    return Lists(
        relations={name: _pairs(words) for name, words in ENGLISH.items()},
        null_relation="",
        bias=tuple((n, *(words.split() for words in lists)) for n, *lists in ENGLISH_BIAS),
        null_bias=(),
        similarity=[(a, b, float(rating)) for a, b, rating in rated],
        classes={word: kind for kind, words in ENGLISH_CLASSES.items() for word in words.split()},
        synonyms=_pairs(ENGLISH_SYNONYMS),
        readouts=tuple((r, t, up.split(), down.split()) for r, t, up, down in ENGLISH_READOUTS),
        looked_up=LOOKED_UP_ENGLISH,
        example=EXAMPLE_ENGLISH,
        rated_by="our own judgement of 42 pairs",
        occupations=["nurse", "doctor", "engineer", "teacher", "pilot", "secretary", "farmer"],
    )


def _pairs(words: str) -> list[tuple[str, str]]:
    split = words.split()
    return list(zip(split[::2], split[1::2], strict=True))


def own_language(seed: int) -> Lists:
    """Lists of the small language, from its lexicon and from what its parses say of each word."""
    from interp.corpus import lexicon as lex
    from interp.corpus import prompts

    bias = prompts.bias_lists()
    neutral = list(zip(*lex.NEUTRAL_PAIRS, strict=True))
    men, women = list(bias.male_words), list(bias.female_words)
    verbs = [pair for pairs in lex.TEMPER_VERBS.values() for pair in pairs]
    features = parsed_features(seed)
    return Lists(
        relations={
            "gender": list(lex.GENDER_PAIRS),
            "noun number": [forms for pair in lex.SYNONYMS for forms in pair],
            "verb number": verbs,
            "capital": list(lex.COUNTRY_OF.items()),
            "country": _one_each(lex.LANGUAGE_OF),
            "neutral pairs (null)": list(lex.NEUTRAL_PAIRS),
        },
        null_relation="neutral pairs (null)",
        bias=(
            (
                "jobs of men and of women, men and women",
                list(bias.male_occupations),
                list(bias.female_occupations),
                men,
                women,
            ),
        ),
        null_bias=(
            ("neutral nouns, men and women", list(neutral[0]), list(neutral[1]), men, women),
        ),
        similarity=_rated_by_parses(features, seed),
        classes={word: marks[0] for word, marks in features.items()},
        synonyms=prompts.synonym_pairs(),
        readouts=(
            ("gender", "the {} saw", ["herself"], ["himself"]),
            ("noun number", "the {}", [v for _, v in verbs], [v for v, _ in verbs]),
        ),
        looked_up=LOOKED_UP_OWN,
        example=EXAMPLE_OWN,
        rated_by="marks that two words share in the grammar (class, number, gender, role)",
        occupations=[*bias.male_occupations, *bias.female_occupations],
    )


def _one_each(language_of: dict[str, str]) -> list[tuple[str, str]]:
    """Countries whose language no earlier one has: two pairs with one word are no two pairs."""
    first = {language: country for country, language in reversed(language_of.items())}
    return [(country, language) for language, country in first.items()]


def parsed_features(seed: int, n_windows: int | None = None) -> dict[str, tuple[str, ...]]:
    """Each word's commonest class, number, gender and role in parsed text; rare words left out."""
    from collections import Counter, defaultdict

    from interp.corpus import Language

    language, seen = Language(), defaultdict(Counter)
    for index in range(N_PARSED if n_windows is None else n_windows):
        for parse in language.sample(seed, 64, index=index, namespace="study").sentences:
            # What is repeated at random says nothing about the words in it.
            for word in parse.words if parse.kind != "repeat" else ():
                marks = (word.cls, word.number or "", word.gender or "", str(word.role or ""))
                seen[word.word][marks] += 1
    return {
        word: counts.most_common(1)[0][0]
        for word, counts in sorted(seen.items())
        if counts.total() >= 3
    }


def _rated_by_parses(
    features: dict[str, tuple[str, ...]], seed: int, n_pairs: int = 300
) -> list[tuple[str, str, float]]:
    """Random pairs, half of them of one class, with the number of marks that they share."""
    import random

    rng, words = random.Random(seed), sorted(features)
    by_class: dict[str, list[str]] = {}
    for word in words:
        by_class.setdefault(features[word][0], []).append(word)
    rated: dict[tuple[str, str], float] = {}
    while len(rated) < n_pairs:
        first = rng.choice(words)
        second = rng.choice(by_class[features[first][0]] if len(rated) % 2 else words)
        if first != second and (second, first) not in rated:
            shared = [a == b and a != "" for a, b in zip(features[first], features[second],
                                                        strict=True)]  # fmt: skip
            rated[first, second] = float(sum(shared))
    return [(a, b, rating) for (a, b), rating in rated.items()]
