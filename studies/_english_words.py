"""English words and sentence frames for prompts whose answer is known.

A word in braces is a slot; whatever fills it must be a single token, so that all prompts of a
frame have the same length. What stands between slots may be any number of tokens.
"""

# ------------------------------------------------------------------------- who receives something

PEOPLE = (
    *("Mary", "John", "Alice", "Tom", "Sarah", "Peter", "Laura", "James", "Emma", "David", "Anna"),
    *("Robert", "Julia", "Mark", "Susan", "Paul", "Kate", "Simon", "Helen", "George", "Rachel"),
    *("Daniel", "Karen", "Martin", "Linda", "Kevin", "Nancy", "Brian", "Lisa", "Jason"),
)
GIVING_PLACES = ("market", "station", "school", "library", "park", "office", "hospital", "beach")
GIVEN_THINGS = ("book", "letter", "key", "coat", "ticket", "ring", "picture", "phone")
OPENINGS = (
    "After {a} and {b} met at the {place},",
    "This morning {a} and {b} came back from the {place}. On the way",
    "When {a} and {b} were tired of the {place},",
    "In the evening {a} and {b} sat in front of the {place}, and then",
    "Since {a} and {b} both live near the {place},",
    "It was cold when {a} and {b} reached the {place}. At last",
    "Friends of {a} and {b} were waiting at the {place}, so",
    "Yesterday {a} and {b} had lunch at the {place}. Afterwards",
)
GIVINGS = (
    "{s} gave a {thing} to",
    "{s} handed the {thing} to",
    "{s} wanted to sell a {thing} to",
    "{s} showed the old {thing} to",
    "{s} promised a new {thing} to",
    "{s} quietly passed the {thing} to",
    "{s} had to return the {thing} to",
    "{s} offered a second {thing} to",
)
NOT_NAMES = (
    *("nobody", "water", "music", "winter", "money", "paper", "silver", "danger", "nothing"),
    *("summer", "history", "weather", "silence", "traffic", "sugar", "wood"),
)

# ------------------------------------------------------------------------- number of the verb

COUNTED = (
    *(("key", "keys"), ("author", "authors"), ("pilot", "pilots"), ("teacher", "teachers")),
    *(("doctor", "doctors"), ("student", "students"), ("manager", "managers"), ("actor", "actors")),
    *(("lawyer", "lawyers"), ("farmer", "farmers"), ("engineer", "engineers"), ("king", "kings")),
    *(("singer", "singers"), ("boy", "boys"), ("girl", "girls"), ("dog", "dogs"), ("cat", "cats")),
    *(("car", "cars"), ("tree", "trees"), ("table", "tables"), ("chair", "chairs")),
    *(("picture", "pictures"), ("door", "doors"), ("cup", "cups"), ("letter", "letters")),
    *(("bridge", "bridges"), ("ship", "ships"), ("train", "trains"), ("flower", "flowers")),
    *(("bird", "birds"), ("horse", "horses"), ("friend", "friends"), ("sister", "sisters")),
    *(("neighbor", "neighbors"), ("guard", "guards"), ("window", "windows")),
)
BETWEEN = ("near", "behind", "beside", "above", "below", "beyond")
SEEN = ("saw", "liked", "found", "knew", "wanted", "heard", "remembered", "followed")
BEFORE_VERB = ("really", "often", "still", "always", "certainly", "probably", "clearly", "usually")
VERBS = {"singular": ("is", "was", "has"), "plural": ("are", "were", "have")}
ADJECTIVES = ("old", "new", "small", "large", "young", "beautiful")
# What stands before the subject, with and without a noun: neither its place nor its rank among the
# nouns tells the subject.
BEFORE_SUBJECT = ("The", "I know that the", "After the storm the", "In this small town the")
SUBJECTS = {
    "preposition": "{head} {between} the {other} {adverb}",
    "adjective": "{head} {between} the {adjective} {other} {adverb}",
    "relative clause": "{head} that the {other} {seen}",
}
# The same without a noun in the place of the second one.
NO_NOUN = {
    "preposition": "{head} right over {other} {adverb}",
    "adjective": "{head} from somewhere over {other} {adverb}",
}
NO_NOUNS = ("there", "here")
DEEPER = "{subject} with the"  # what was the subject now hangs on another noun

# ------------------------------------------------------------------------- what comes next

SEQUENCES = {
    "weekdays": (*("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),),
    "months": (
        *("January", "February", "March", "April", "May", "June", "July", "August"),
        *("September", "October", "November", "December"),
    ),
    "numbers": (
        *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
        *("eleven", "twelve"),
    ),
    "ordinals": (
        *("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"),
        *("ninth", "tenth"),
    ),
    "digits": tuple(str(number) for number in range(1, 31)),
    "letters": tuple("BCDEFGHIJKLMNOPQRSTUVWXYZ"),  # "A" is an article too
}
ROUND = ("weekdays", "months")  # begin again after the last one
NOT_SEVERAL = ("one", "1")  # the texts below speak of several
NO_ORDER = ("I",)  # a word of its own far more often than a letter
SAID = ("They read aloud:", "Next come", "The list begins with", "Repeat after me:")

# Short texts in which such words stand as they do anywhere: each template is one unit.
CALENDAR = (
    "On {weekdays} the shop opens at {numbers} and closes at {numbers2}, as it always did.",
    "In {months} we moved to the {ordinals} floor, and in {months2} we moved out again.",
    "Flights leave every {weekdays} and {weekdays2} from gate {digits} at the end of the hall.",
    "Chapter {digits} is about the {ordinals} war, and chapter {digits2} about what came later.",
    "Of the {numbers} ships that left in {months}, only {numbers2} came home before the storm.",
    "My sister was born on a {weekdays} in {months}, on the {ordinals} day of the holidays.",
    "Row {letters}, seat {digits}: the best place in the house on a {weekdays} night.",
    "He ran the {ordinals} mile in {numbers} minutes and the {ordinals2} in nearly the same.",
    "From {weekdays} to {weekdays2} it rained, and the {numbers} of us stayed in bed.",
    "The {ordinals} letter came in {months}, and it was {numbers} pages long.",
    "Lesson {digits} takes {numbers} hours, so we finish on {weekdays} at the latest.",
    "Vitamin {letters} was the {ordinals} to be found, in {months} of a cold year.",
    "There are {numbers} bridges and {numbers2} rivers on page {digits} of this old book.",
    "The {ordinals} and the {ordinals2} prize were given away on {weekdays} in the town hall.",
    "Bus {digits} stops here on {weekdays} only, and bus {digits2} does not stop at all.",
    "School starts in {months} for the {ordinals} class and in {months2} for all others.",
    "She bought {numbers} apples on {weekdays} and {numbers2} more on {weekdays2} evening.",
    "Box {letters} holds {numbers} cups, box {letters2} holds the plates from {months} on.",
    "His {ordinals} book sold well in {months}, better than the {ordinals2} had done.",
    "At {numbers} in the morning on {weekdays}, {digits} people were waiting at the door.",
)
