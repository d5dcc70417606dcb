"""The words of the small language, and the facts, genders and biases planted in them.

Everything that a study uses as ground truth about *words* stands here as data;
how the words are put together stands in `language.py`.
"""

from __future__ import annotations

from interp.corpus.grammar import Pool

# --- animals ------------------------------------------------------------------------------------
# The temper of the head noun picks its verb, its colour picks the place, its texture picks nothing.

TEMPERS: dict[str, tuple[str, ...]] = {
    "calm": ("calm", "gentle", "quiet", "tame"),
    "fierce": ("fierce", "angry", "wild", "savage"),
    "playful": ("playful", "lively", "cheerful", "merry"),
    "timid": ("timid", "shy", "nervous", "fearful"),
}
COLOURS: dict[str, tuple[str, ...]] = {
    "blue": ("blue", "azure", "teal"),
    "red": ("red", "crimson", "scarlet"),
    "green": ("green", "emerald", "olive"),
    "white": ("white", "ivory", "silver"),
}
TEXTURES: tuple[str, ...] = ("fluffy", "smooth", "rough", "soft", "shaggy")

# Each temper's verbs: (singular, plural).
TEMPER_VERBS: dict[str, tuple[tuple[str, str], ...]] = {
    "calm": (("rests", "rest"), ("sleeps", "sleep")),
    "fierce": (("attacks", "attack"), ("growls", "growl")),
    "playful": (("jumps", "jump"), ("dances", "dance")),
    "timid": (("hides", "hide"), ("flees", "flee")),
}
TEMPER_PARTICIPLES: dict[str, tuple[str, ...]] = {
    "calm": ("roaming", "wandering"),
    "fierce": ("charging", "prowling"),
    "playful": ("bounding", "skipping"),
    "timid": ("creeping", "sneaking"),
}
# Which colour goes with which kind of place is arbitrary, so that it has to be learned.
COLOUR_PLACES: dict[str, tuple[str, ...]] = {
    "blue": ("forest", "grove", "jungle", "thicket"),
    "red": ("meadow", "field", "prairie", "pasture"),
    "green": ("desert", "canyon", "valley", "ridge"),
    "white": ("lake", "river", "pond", "swamp"),
}
PLACE_ADJECTIVES: dict[str, tuple[str, ...]] = {
    "blue": ("verdant", "shady"),
    "red": ("sunny", "grassy"),
    "green": ("dusty", "barren"),
    "white": ("murky", "shallow"),
}

# Pairs of synonyms: (singular, plural) twice. Both words of a pair occur in exactly the same
# contexts with the same probabilities; the food tells the pairs apart.
SYNONYMS: tuple[tuple[tuple[str, str], tuple[str, str]], ...] = (
    (("creature", "creatures"), ("beast", "beasts")),
    (("dog", "dogs"), ("hound", "hounds")),
    (("cat", "cats"), ("kitten", "kittens")),
    (("rabbit", "rabbits"), ("bunny", "bunnies")),
    (("horse", "horses"), ("steed", "steeds")),
    (("pig", "pigs"), ("hog", "hogs")),
    (("frog", "frogs"), ("toad", "toads")),
)
FOODS: tuple[tuple[str, str], ...] = (
    ("berries", "roots"),
    ("bones", "meat"),
    ("fish", "milk"),
    ("carrots", "clover"),
    ("oats", "hay"),
    ("acorns", "turnips"),
    ("flies", "worms"),
)
ATTRACTOR_PREPOSITIONS: tuple[str, ...] = ("near", "behind", "beside", "with")

# --- persons ------------------------------------------------------------------------------------

MALE, FEMALE = "m", "f"
PRONOUNS: dict[str, dict[str, str]] = {
    MALE: {"subject": "he", "possessive": "his", "reflexive": "himself"},
    FEMALE: {"subject": "she", "possessive": "her", "reflexive": "herself"},
}


# role: (male, female), (neutral, neutral), verb, objects, place
ROLES: dict[str, tuple[tuple[str, str], tuple[str, str], str, tuple[str, str], str]] = {
    "royal": (("king", "queen"), ("ruler", "monarch"), "wore", ("crown", "robe"), "palace"),
    "adult": (("man", "woman"), ("adult", "grownup"), "drove", ("car", "truck"), "garage"),
    "child": (("boy", "girl"), ("child", "kid"), "flew", ("kite", "balloon"), "park"),
    "parent": (
        ("father", "mother"),
        ("parent", "guardian"),
        "rocked",
        ("cradle", "baby"),
        "nursery",
    ),
    "noble": (
        ("prince", "princess"),
        ("noble", "aristocrat"),
        "rode",
        ("pony", "carriage"),
        "estate",
    ),
    "stage": (
        ("actor", "actress"),
        ("performer", "player"),
        "learned",
        ("script", "speech"),
        "theatre",
    ),
    "service": (
        ("waiter", "waitress"),
        ("server", "attendant"),
        "carried",
        ("tray", "menu"),
        "cafe",
    ),
    "cloister": (("monk", "nun"), ("believer", "pilgrim"), "sang", ("psalm", "hymn"), "abbey"),
    "magic": (("wizard", "witch"), ("magician", "conjurer"), "waved", ("wand", "staff"), "dungeon"),
    "sibling": (("brother", "sister"), ("sibling", "twin"), "shared", ("toy", "bunk"), "bedroom"),
    "relative": (("uncle", "aunt"), ("relative", "cousin"), "baked", ("pie", "cake"), "kitchen"),
    "spouse": (("husband", "wife"), ("spouse", "partner"), "kept", ("ring", "vow"), "chapel"),
    "elder": (
        ("grandfather", "grandmother"),
        ("elder", "senior"),
        "knitted",
        ("shawl", "scarf"),
        "cottage",
    ),
    "hero": (
        ("hero", "heroine"),
        ("champion", "winner"),
        "drew",
        ("sword", "shield"),
        "battlefield",
    ),
}
GENDER_PAIRS: tuple[tuple[str, str], ...] = tuple(role[0] for role in ROLES.values())
"""(male, female): the same role, so that they differ in gender alone."""

NEUTRAL_PAIRS: tuple[tuple[str, str], ...] = tuple(role[1] for role in ROLES.values())
"""The planted null direction: both words of a pair have the same contexts and are
male in `NEUTRAL_MALE_SHARE` of the sentences, so their difference means nothing."""

NEUTRAL_MALE_SHARE = 0.5

# The planted occupational bias. All occupations share one role ("work"), so that nothing but
# the share of male pronouns tells the two lists apart.
MALE_OCCUPATIONS: tuple[str, ...] = (
    "engineer", "pilot", "plumber", "miner", "mechanic", "carpenter",
)  # fmt: skip
FEMALE_OCCUPATIONS: tuple[str, ...] = (
    "nurse", "librarian", "florist", "dancer", "secretary", "hairdresser",
)  # fmt: skip
BIAS_MALE_SHARE: dict[str, float] = {
    **dict.fromkeys(MALE_OCCUPATIONS, 0.8),
    **dict.fromkeys(FEMALE_OCCUPATIONS, 0.2),
}
"""Probability that a sentence about this occupation is about a man."""

WORK: tuple[str, tuple[str, str], str] = ("packed", ("bag", "badge"), "office")
WORK_ROLE = "work"

REFLEXIVE_VERBS: tuple[str, ...] = ("saw", "washed", "praised", "hurt")
MOODS: tuple[str, ...] = ("happy", "sad", "tired", "proud")
REASON_VERBS: tuple[str, ...] = ("lost", "found", "broke")
PERSON_PREPOSITIONS: tuple[str, ...] = ("near", "behind", "beside")

MALE_NAMES: tuple[str, ...] = (
    "john", "tom", "paul", "mark", "james", "peter",
    "david", "simon", "adam", "frank", "henry", "oscar",
)  # fmt: skip
FEMALE_NAMES: tuple[str, ...] = (
    "mary", "anna", "lucy", "emma", "sarah", "kate",
    "laura", "alice", "julia", "helen", "clara", "nina",
)  # fmt: skip
FIRST_NAMES = Pool(MALE_NAMES + FEMALE_NAMES)
LAST_NAMES = Pool((
    "smith", "jones", "miller", "wilson", "davis", "clark", "lewis", "walker", "allen", "wright",
    "scott", "nelson", "carter", "turner", "parker", "evans",
))  # fmt: skip
NAME_GENDER: dict[str, str] = {
    **dict.fromkeys(MALE_NAMES, MALE),
    **dict.fromkeys(FEMALE_NAMES, FEMALE),
}

# --- senses -------------------------------------------------------------------------------------

TOPIC_CUES: dict[str, tuple[str, ...]] = {
    "nature": ("garden", "marsh", "zoo", "cave"),
    "laboratory": ("laboratory", "institute"),
    "clinic": ("clinic", "hospital"),
    "town": ("stadium", "bureau", "shipyard", "court"),
}
TOPIC_WEIGHTS: dict[str, float] = {"nature": 0.4, "laboratory": 0.2, "clinic": 0.1, "town": 0.3}

# word: topic: (sense, verbs)
SENSES: dict[str, dict[str, tuple[str, tuple[str, str]]]] = {
    "mole": {
        "nature": ("animal", ("digs", "burrows")),
        "laboratory": ("chemistry", ("reacts", "dissolves")),
        "clinic": ("skin", ("itches", "darkens")),
    },
    "bat": {
        "nature": ("animal", ("squeaks", "flutters")),
        "town": ("club", ("cracks", "splinters")),
    },
    "seal": {
        "nature": ("animal", ("barks", "swims")),
        "town": ("stamp", ("melts", "dries")),
    },
    "crane": {
        "nature": ("animal", ("nests", "wades")),
        "town": ("machine", ("lifts", "swings")),
    },
    "bank": {
        "nature": ("shore", ("floods", "erodes")),
        "town": ("money", ("lends", "invests")),
    },
    "spring": {
        "nature": ("water", ("bubbles", "trickles")),
        "laboratory": ("coil", ("bounces", "stretches")),
    },
}
AMBIGUOUS: tuple[str, ...] = tuple(SENSES)
AMBIGUOUS_ANIMALS: tuple[str, ...] = tuple(
    word for word, senses in SENSES.items() if senses.get("nature", ("",))[0] == "animal"
)
REGIONS: tuple[str, ...] = ("american", "european", "african", "asian")
KINDS: tuple[str, ...] = ("true", "common", "giant")
SUBSTANCES: tuple[str, ...] = ("carbon dioxide", "water", "oxygen", "helium")
BIOPSIES: tuple[str, ...] = ("mole", "scar", "rash")
HEDGE = "they say"
TIMES: tuple[str, ...] = ("today", "again", "last week", "after a while")

# --- facts --------------------------------------------------------------------------------------

# city: (country, language, three sights)
CITIES: dict[str, tuple[str, str, tuple[str, str, str]]] = {
    "paris": ("france", "french", ("louvre", "bastille", "sorbonne")),
    "rome": ("italy", "italian", ("colosseum", "pantheon", "vatican")),
    "london": ("england", "english", ("shard", "barbican", "tate")),
    "berlin": ("germany", "german", ("reichstag", "siegessaule", "pergamon")),
    "madrid": ("spain", "spanish", ("prado", "retiro", "almudena")),
    "vienna": ("austria", "german", ("hofburg", "prater", "belvedere")),
    "athens": ("greece", "greek", ("parthenon", "agora", "acropolis")),
    "tokyo": ("japan", "japanese", ("skytree", "budokan", "ginza")),
    "cairo": ("egypt", "arabic", ("sphinx", "citadel", "azhar")),
    "lima": ("peru", "spanish", ("miraflores", "barranco", "larco")),
    "moscow": ("russia", "russian", ("kremlin", "bolshoi", "arbat")),
    "oslo": ("norway", "norwegian", ("akershus", "fram", "vigeland")),
}
COUNTRY_OF: dict[str, str] = {city: row[0] for city, row in CITIES.items()}
LANGUAGE_OF: dict[str, str] = {row[0]: row[1] for row in CITIES.values()}
CITY_OF: dict[str, str] = {entity: city for city, row in CITIES.items() for entity in row[2]}
ENTITIES: tuple[str, ...] = tuple(CITY_OF)

FACT_TEMPLATES: dict[str, tuple[str, str]] = {
    "is": ("the", "is in"),
    "stands": ("the", "stands in"),
    "visit": ("tourists visit the", "in"),
    "built": ("the", "was built in"),
    "find": ("you can find the", "in the city of"),
}
"""What comes before the entity and between the entity and its city."""

TWO_HOP_TEMPLATE: tuple[str, str] = ("the", "is in the country of")

HELD_OUT_TEMPLATES: tuple[str, ...] = ("built", "find")
HELD_OUT_ENTITIES: tuple[str, ...] = tuple(row[2][0] for row in list(CITIES.values())[:7])
"""Entities that the language never puts into `HELD_OUT_TEMPLATES`."""

TWO_HOP_HELD_OUT: tuple[str, ...] = tuple(row[2][2] for row in CITIES.values())
"""Entities that the language never puts into `TWO_HOP_TEMPLATE`: their country has to be
composed from their city and the city's country."""

# --- the rest -----------------------------------------------------------------------------------

SHELVES: tuple[str, ...] = ("shelf", "desk", "table")
TOWNS: tuple[str, ...] = ("town", "village")
TOWER_ADJECTIVES: tuple[str, ...] = ("tall", "old")

SHOPS: tuple[str, ...] = ("store", "market", "school", "beach", "station", "bakery")
GIFTS: tuple[str, ...] = ("book", "drink", "ticket", "letter", "flower", "coin")
GIVING: tuple[str, ...] = ("gave", "handed", "sold")
ENCOUNTERS: tuple[str, ...] = ("arrived", "smiled", "waited", "laughed")

WEEKDAYS: tuple[str, ...] = (
    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday",
)  # fmt: skip
NUMBERS: tuple[str, ...] = (
    "one", "two", "three", "four", "five", "six",
    "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip

# fmt: off
FUNCTION_WORDS: tuple[str, ...] = (
    ".", ",", "the", "a", "and", "in", "on", "of", "to", "was", "is", "because", "when", "after",
    "it", "he", "she", "his", "her", "himself", "herself", "eats", "eat", "through", "they", "say",
    "today", "again", "last", "week", "while", "not", "far", "from", "stands", "eiffel", "tower",
    "miniature", "tourists", "visit", "built", "you", "can", "find", "city", "country", "capital",
    "people", "speak", "went", "stayed", "for", "hours", "one", "take", "biopsy", "photo", "as",
    "we", "met",
)
# fmt: on

FUNCTION_CLASSES: dict[str, str] = {
    word: cls
    for cls, words in {
        "punctuation": ". ,",
        "article": "the a",
        "preposition": "in on of to through for from",
        "conjunction": "and because when after as",
        "verb_be": "is was",
        "pronoun": "it they you we",
        "verb": "say visit built can find speak went stayed take met stands",
        "noun": "tourists city country capital people hours biopsy photo tower",
        "adverb": "today again last week while not far",
    }.items()
    for word in words.split()
}
"""Word class of the words that belong to a fixed phrase rather than to a list above."""


def _vocabulary() -> tuple[str, ...]:
    """Every word of the language once, in a fixed order: function words first."""
    groups: list = [FUNCTION_WORDS, TEXTURES, ATTRACTOR_PREPOSITIONS, REFLEXIVE_VERBS, MOODS]
    groups += [
        words for table in (TEMPERS, COLOURS, TEMPER_PARTICIPLES) for words in table.values()
    ]
    groups += [words for table in (COLOUR_PLACES, PLACE_ADJECTIVES) for words in table.values()]
    groups += [pair for verbs in TEMPER_VERBS.values() for pair in verbs]
    groups += [forms for pair in SYNONYMS for forms in pair]
    groups += FOODS
    for gendered, neutral, verb, objects, place in ROLES.values():
        groups += [gendered, neutral, (verb,), objects, (place,)]
    groups += [tuple(BIAS_MALE_SHARE), (WORK[0],), WORK[1], (WORK[2],), REASON_VERBS]
    groups += [FIRST_NAMES, LAST_NAMES, *TOPIC_CUES.values(), AMBIGUOUS]
    groups += [verbs for senses in SENSES.values() for _, verbs in senses.values()]
    groups += [REGIONS, KINDS, [w for s in SUBSTANCES for w in s.split()], BIOPSIES]
    groups += [CITIES, tuple(COUNTRY_OF.values()), tuple(LANGUAGE_OF.values()), ENTITIES]
    groups += [SHELVES, TOWNS, TOWER_ADJECTIVES, SHOPS, GIFTS, GIVING, ENCOUNTERS]
    groups += [WEEKDAYS, NUMBERS]
    return tuple(dict.fromkeys(word for group in groups for word in group))


WORDS = Pool(_vocabulary())
