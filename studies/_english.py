"""English prompts for models that read English: short stories in which a name comes back."""

NAMES = (
    *("Mary", "John", "Alice", "Tom", "Sarah", "Peter", "Laura", "James"),
    *("Emma", "David", "Anna", "Robert", "Julia", "Mark", "Susan", "Paul"),
)
THINGS = (
    *("piano", "bicycle", "camera", "telescope", "guitar", "mirror"),
    *("ladder", "basket", "lantern", "carpet", "kettle", "violin"),
)
PLACES = (
    *("London", "Berlin", "Madrid", "Boston", "Chicago", "Vienna"),
    *("Dublin", "Moscow", "Tokyo", "Cairo", "Lisbon", "Athens"),
)

# Each template is one unit of the statistics. {name}, {thing} and {place} come back where they
# stand twice; {other} and {place2} are there to be told apart from them.
TEMPLATES = (
    "Yesterday {name} went to the market with {other}. It was raining, and soon {name} was wet.",
    "The old {thing} stood in the hall. Nobody had touched it for years, because the {thing} was "
    "broken.",
    "When we arrived in {place}, the streets were empty. Our guide had lived in {place} all her "
    "life.",
    "{other} wrote a long letter to {name}, but the post was slow and {name} never read it.",
    "I bought a {thing} at the fair. My brother laughed at me, since a {thing} is of no use at "
    "home.",
    "The train to {place} leaves at noon. If you miss it, the next train to {place} leaves at six.",
    "Everyone liked {name}. At school, at work and at home, {name} made people laugh.",
    "She cleaned the {thing} with a soft cloth. Then she put the {thing} back on the shelf.",
    "There are two museums in {place}. The larger one shows the history of {place} and its river.",
    "On Monday {name} met {other} for lunch. On Tuesday it was {name} who paid for both.",
    "A thief took the {thing} from the window. The police found the {thing} three days later.",
    "The weather in {place} changes quickly. In spring, people in {place} carry an umbrella.",
    "First {other} spoke, then the mayor spoke, and in the end {name} spoke. People remember "
    "what {name} said.",
    "He could not sell the {thing}, although the price was low. Nobody wanted a {thing} in those "
    "days.",
    "From {place2} we drove to {place}. The road was narrow, and it was dark when we saw {place}.",
    "{name} has three sisters and a dog. In the evening {name} takes the dog for a walk.",
    "The teacher brought a {thing} to class and asked the children to draw it. Most drew the "
    "{thing} well.",
    "My uncle moved from {place} to {place2} last year. He says that he misses the food in "
    "{place}.",
    "In the first chapter {name} loses a ring. In the last chapter {other} gives it back to "
    "{name}.",
    "The {thing} was a gift from her grandmother. She would never give the {thing} away.",
    "The team from {place} won the first game and lost the second. The fans in {place} were not "
    "happy.",
    "The doctor asked {name} to wait outside. After an hour the nurse called {name} again.",
    "We looked for the {thing} in the kitchen, the garden and the car. Finally the {thing} was "
    "found.",
    "A storm is moving towards {place}. Schools close early today, and ships stay in the port of "
    "{place}.",
    "{other} is taller than {name}, but in a race over a mile it is {name} who wins.",
    "The shop repairs any {thing} within a week. They also let you rent a {thing} while you wait.",
    "The painter was born in {place2} and died in {place}. His best pictures still hang in "
    "{place}.",
    "The jury listened to {other} for two days. On the third day it was the turn of {name}, and "
    "{name} was silent.",
    "Please move the {thing} away from the door. Last night I fell over the {thing} in the dark.",
    "Flights to {place} are cheap in winter. In summer, when everybody visits {place}, they cost "
    "twice as much.",
    "Nobody told {name} about the party. When the guests came, {name} was already asleep.",
    "The museum owns a {thing} that is four hundred years old. It is the oldest {thing} in the "
    "country.",
)


def stories(n_prompts: int, seed: int) -> list[tuple[int, str]]:
    """Template number and text of each prompt; templates take turns, fillings are drawn.

    Args:
        n_prompts: at least the number of templates uses each of them.
        seed: of the fillings.
    """
    import random

    draw = random.Random(seed)
    texts = []
    for number in range(n_prompts):
        name, other = draw.sample(NAMES, 2)
        place, place2 = draw.sample(PLACES, 2)
        filling = {"name": name, "other": other, "place": place, "place2": place2}
        template = number % len(TEMPLATES)
        texts.append((template, TEMPLATES[template].format(thing=draw.choice(THINGS), **filling)))
    return texts
