"""English words with several senses, for models that read English; sentences end at the word.

The sentences of one sense share as few words as they can, so that nothing but the sense is common
to them. No sentence of the lectures is among them: those are compared with these.
"""

# word: sense: what comes before the word
SENSES: dict[str, dict[str, tuple[str, ...]]] = {
    "mole": {
        "animal": (
            "Deep in its tunnel, blind and covered in fur, lived a",
            "Our lawn was ruined by a digging",
            "The cat caught a shrew, two mice and a",
            "Worms are the favourite food of the",
            "A heap of fresh soil in the meadow showed the work of a",
            "With paws like shovels, underground swims the",
        ),
        "chemistry": (
            "Divide the mass in grams by the mass of one",
            "Avogadro's number is the number of atoms in a",
            "The concentration is given in grams per litre or by the",
            "Burning this gas releases 890 kilojoules per",
            "In the reaction each acid molecule takes a proton, so we need half a",
            "The SI unit for the amount of substance is the",
        ),
        "skin": (
            "The dermatologist examined the dark",
            "On her left cheek she had a small brown",
            "Sunburn can turn a harmless spot into a dangerous",
            "My doctor removed a freckle and a",
            "He was worried that melanoma had begun in the",
            "Above his lip there was a hairy",
        ),
    },
    "tower": {
        "the tower": (
            "From the village we could see the old stone",
            "The bell hung high in the church",
            "Guards kept watch from the top of the",
            "Lightning struck the water",
            "Behind the castle wall rose a second",
            "Pigeons were nesting in the ruined",
        ),
        "the eiffel tower": (
            "Tourists in Paris queue for hours below the Eiffel",
            "Gustave built his iron",
            "From the Seine you have the best view of the Eiffel",
            "The French capital is famous for the Louvre and its iron lattice",
            "On the Champ de Mars stands the",
            "On Bastille Day fireworks light up the Eiffel",
        ),
        "a miniature tower": (
            "On the model railway table stood a tiny plastic",
            "She put the little souvenir on her shelf, a miniature",
            "With toy bricks the child built a small",
            "For the dolls' house he carved a thumb-sized",
            "Her key ring holds a tiny metal",
            "The baker made a marzipan",
        ),
    },
    "bat": {
        "animal": (
            "At night, out of the cave, flew a hungry",
            "The only mammal that truly flies is the",
            "Hanging upside down from the roof beam slept a small",
            "By the echoes of its calls it finds moths: the",
            "In the zoo's dark hall we saw an owl and a fruit",
            "Vampires are said to turn into a",
        ),
        "club": (
            "The batter stepped to the plate and raised his",
            "He hit the ball out of the stadium with a wooden",
            "The cricketer oiled his new",
            "Her glove lay next to the baseball",
            "With one swing he broke the",
            "The umpire checked the weight of the aluminium",
        ),
    },
    "seal": {
        "animal": (
            "On the ice floe, with her pup, lay a grey",
            "The polar bear waited at a hole in the ice for a",
            "Barking loudly, into the waves slipped a fat",
            "The trainer threw a herring to the",
            "Whiskers and flippers are what you see of a swimming",
            "Orcas hunt fish, and now and then a young",
        ),
        "stamp": (
            "The king pressed his ring into the wax",
            "The envelope was closed with a red",
            "The notary signed the deed and added his official",
            "No treaty was valid without the royal",
            "On the old charter hung a heavy lead",
            "The ambassador's letter arrived with an unbroken",
        ),
    },
    "crane": {
        "animal": (
            "In the marsh, on one leg, stood a white",
            "The ornithologist counted storks, herons and a single",
            "With a trumpeting call, south flew the",
            "In its nest among the reeds sat the",
            "Frogs fear the long beak of the",
            "A dance with spread wings is how it courts: the",
        ),
        "machine": (
            "The steel beams were lifted to the roof by a",
            "Over the building site turned a tall yellow",
            "In the port containers are unloaded by",
            "The operator climbed into the cabin of the",
            "Ten tons hung from the hook of the",
            "The construction company rented an excavator and a",
        ),
    },
    "bank": {
        "shore": (
            "The fisherman sat on the grassy river",
            "The flood washed away half of the muddy",
            "Our canoe drifted towards the left",
            "Willows lined the stream on either",
            "They swam across and climbed up the steep",
            "Ducks were sleeping in the reeds along the",
        ),
        "money": (
            "She took out a loan from the",
            "The robbers forced the cashier to open the safe of the",
            "Interest rates were raised by the central",
            "He deposited his salary at the",
            "Our mortgage is with a savings",
            "Investors lost their trust in the Swiss",
        ),
    },
    "spring": {
        "water": (
            "The hikers filled their bottles at a mountain",
            "Clear and cold, out of the rock, bubbled a",
            "The village well is fed by an underground",
            "Deer come to drink at the",
            "The river begins as a small",
            "Bathers in Iceland love a hot",
        ),
        "coil": (
            "The old mattress had a broken",
            "When the clock stops, wind up its steel",
            "Hooke's law gives the force of a stretched",
            "The trap snaps shut by means of a strong",
            "The mechanic replaced the shock absorber and the",
            "A ball pen clicks because of a tiny metal",
        ),
    },
}

# The lectures' phrases, and others like them.
EXAMPLES: dict[str, dict[str, tuple[str, ...]]] = {
    "mole": {
        "american true mole": ("American true mole", "An American true mole", "The shrew mole"),
        "one mole (of carbon dioxide)": ("One mole", "Exactly one mole", "There is one mole"),
        "biopsy of the mole": (
            "Take a biopsy of the mole",
            "They took a biopsy of the mole",
            "The biopsy of her mole",
        ),
    },
    "tower": {
        "the tower": ("The tower", "They walked to the tower", "He painted the tower"),
        "the eiffel tower": (
            "The Eiffel tower",
            "They walked to the Eiffel tower",
            "He painted the Eiffel tower",
        ),
        "a miniature tower": (
            "A miniature tower",
            "They walked to a miniature tower",
            "He painted a miniature tower",
        ),
    },
}

# The same sentence with one cue or another: before the word, and after it.
TOPICS: dict[str, tuple[str, ...]] = {
    "nature": ("garden", "forest", "cave", "river"),
    "laboratory": ("laboratory", "factory"),
    "clinic": ("clinic", "hospital"),
    "town": ("stadium", "office", "court", "market"),
}
TOPICS_OF: dict[str, tuple[str, ...]] = {
    "mole": ("nature", "laboratory", "clinic"),
    "bat": ("nature", "town"),
    "seal": ("nature", "town"),
    "crane": ("nature", "town"),
    "bank": ("nature", "town"),
    "spring": ("nature", "laboratory"),
}
BEFORE = "In the {cue} they saw the {word}"
AFTER = "They saw the {word} in the {cue}"

# Words by class, for judging the token embedding.
CLASSES: dict[str, tuple[str, ...]] = {
    "animal": ("dog", "cat", "horse", "cow", "sheep", "lion", "bear", "mouse"),
    "colour": ("red", "blue", "green", "yellow", "black", "white", "brown", "orange"),
    "number": ("two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "month": ("January", "February", "April", "June", "July", "August", "October", "December"),
    "country": ("France", "Germany", "Italy", "Spain", "Japan", "China", "Russia", "Brazil"),
    "body": ("hand", "foot", "head", "arm", "knee", "nose", "mouth", "shoulder"),
    "food": ("bread", "cheese", "butter", "meat", "rice", "soup", "salad", "sugar"),
    "profession": ("doctor", "lawyer", "teacher", "nurse", "engineer", "farmer", "pilot", "baker"),
    "furniture": ("table", "chair", "bed", "desk", "sofa", "shelf", "lamp", "mirror"),
    "vehicle": ("car", "truck", "bus", "train", "boat", "plane", "bicycle", "ship"),
}
