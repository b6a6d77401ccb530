"""Looking things up in many contexts: problems on which reading them side by side can be measured.

`people`: each fact says where somebody lives, and one of them is asked for. `homes`: some people
live with another one, whose city is in another context, maybe: facts that have to be put together.
`shots`: each shows the colour of one of a few things, but many are wrong; the colour that a thing
has most often is found from many shots only.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from eval.item import Item
from reason.errors import UsageError
from reason.types import Contexts

Kind = Literal["people", "homes", "shots"]
KINDS: tuple[Kind, ...] = ("people", "homes", "shots")
FACTS = 4
"""In each context of a task."""
NOISE = 0.4
"""Share of shots with any colour at all, in a task."""
THINGS_SHOWN = 8
"""Different things in the shots of a question."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = _words(
    "Ada Adam Agnes Alan Alba Alma Amir Ana Anton Asha Aziz Bela Ben Bo Bruno Carl Carla Chen "
    "Clara Dag Dana Dario Diego Dina Doris Edda Edith Elena Eli Elsa Emil Emma Enzo Erik Esra Eva "
    "Fatma Felix Finn Flora Fritz Gina Greta Gus Hana Hans Hassan Heidi Hugo Ida Igor Ilse Ines "
    "Ingrid Ivan Jan Jana Jin Joel Jonas Jules June Kai Karin Karl Kemal Kim Klara Kofi Lara Lars "
    "Lea Leo Lily Lin Lou Luca Lucy Luis Luna Mara Marc Maria Marta Max Maya Mei Mia Milo Mina "
    "Mona Nadia Nils Nina Noah Nora Olaf Olga Omar Oskar Otto Paul Paula Peter Petra Pia Rafa "
    "Rana Rita Rob Rosa Ruth Sam Sara Selma Sofia Sven Tara Theo Tim Tom Uma Vera"
)
CITIES = _words(
    "Accra Athens Baku Berlin Bern Bogota Boston Cairo Dakar Delhi Dublin Havana Jakarta Kiev "
    "Kyoto Lagos Lima Lisbon London Madrid Malmo Manila Miami Milan Nairobi Oslo Paris Porto "
    "Prague Quito Riga Rome Seoul Tunis Vienna"
)
THINGS = _words(
    "apple pear plum grape peach cherry lemon melon cat dog horse cow goat pig sheep mouse chair "
    "table bed sofa desk shelf lamp stool oak pine birch elm willow maple cedar ash car bus train "
    "tram boat plane bike truck shirt coat hat sock shoe glove scarf belt flute violin drum piano "
    "guitar harp horn cello cup plate fork knife spoon bowl pan jar"
)
COLOURS = _words(
    "red blue green yellow black white brown pink orange purple grey gold silver beige violet "
    "turquoise crimson navy ivory olive amber teal lilac coral"
)
MARKS = ("<pad>", "<bos>", "<eos>", *(f"{kind}:" for kind in KINDS), "|", "?", "with")
SHOWN = (*MARKS, *NAMES, *CITIES, *THINGS, *COLOURS)
"""All words, each a token of its own."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """Contexts, and what can be asked of them: words, and the one that answers them."""

    kind: Kind
    contexts: tuple[tuple[str, ...], ...]
    """The facts of each."""
    questions: tuple[tuple[str, str], ...]

    @property
    def prefix(self) -> str:
        """What stands before the contexts."""
        return f"<bos> {self.kind}: "

    @property
    def texts(self) -> tuple[str, ...]:
        """The contexts as the model lookup reads them."""
        return tuple(f"| {' '.join(facts)} " for facts in self.contexts)

    def prompt(self, number: int, grammar: str = "lookup") -> Contexts:
        """One of the questions, to be answered with a word; in English for models of no grammar."""
        asked = self.questions[number][0]
        if grammar == "lookup":
            return Contexts(self.texts, f"? {asked}", self.prefix)
        joint, question, prefix = ENGLISH[self.kind]
        texts = tuple(
            "".join(f"{_sentence(fact, joint)}\n" for fact in facts) + "\n"
            for facts in self.contexts
        )
        return Contexts(texts, f"{question.format(asked)} Answer with one word.", f"{prefix}\n\n")


ENGLISH: dict[Kind, tuple[str, str, str]] = {
    "people": ("lives in", "Where does {} live?", "Here is where some people live."),
    "homes": ("lives in", "In which city does {} live?", "Here is where some people live."),
    "shots": ("is", "What colour is the {} most often?", "Here is what people say of some things."),
}
"""What stands within a fact, the question, and what stands before all."""


def _sentence(fact: str, joint: str) -> str:
    subject, *_, value = fact.split()
    return f"{subject} {'lives with' if ' with ' in fact else joint} {value}."


def most(kind: Kind, facts: int = FACTS) -> int:
    """How many contexts of so many facts there can be."""
    return 64 if kind == "shots" else len(NAMES) // facts


def sheet(
    kind: Kind,
    contexts: int,
    facts: int,
    questions: int,
    rng: random.Random,
    noise: float = NOISE,
) -> Sheet:
    """A random one: `contexts` of `facts` each, and at most so many different questions; `noise` is
    the share of shots with any colour at all.

    Raises ValueError for more contexts than there are names for.
    """
    if not 1 <= contexts <= most(kind, facts) or facts < 1:
        raise ValueError(
            f"{kind} has room for 1 to {most(kind, max(facts, 1))} contexts of {facts} facts, got "
            f"{contexts}"
        )
    count = contexts * facts
    if kind == "shots":
        said, asked = _shots(count, questions, rng, noise)
    else:
        said, asked = (_people if kind == "people" else _homes)(count, questions, rng)
    rng.shuffle(said)
    parts = (tuple(said[start : start + facts]) for start in range(0, count, facts))
    return Sheet(kind, tuple(parts), tuple(asked))


Made = tuple[list[str], list[tuple[str, str]]]


def _people(count: int, questions: int, rng: random.Random) -> Made:
    home = {name: rng.choice(CITIES) for name in rng.sample(NAMES, count)}
    asked = rng.sample(sorted(home.items()), min(questions, count))
    return [f"{name} {city}" for name, city in home.items()], asked


def _homes(count: int, questions: int, rng: random.Random) -> Made:
    names = rng.sample(NAMES, count)
    home = {name: rng.choice(CITIES) for name in names[: max(count // 2, 1)]}
    hosts = {name: rng.choice(list(home)) for name in names[len(home) :]}
    said = [f"{name} {city}" for name, city in home.items()]
    said += [f"{name} with {host}" for name, host in hosts.items()]
    linked = [(name, home[host]) for name, host in sorted(hosts.items())] or sorted(home.items())
    return said, rng.sample(linked, min(questions, len(linked)))


def _shots(count: int, questions: int, rng: random.Random, noise: float) -> Made:
    colour = {thing: rng.choice(COLOURS) for thing in rng.sample(THINGS, THINGS_SHOWN)}
    drawn = [rng.choice(list(colour)) for _ in range(count)]
    said = [
        f"{thing} {rng.choice(COLOURS) if rng.random() < noise else colour[thing]}"
        for thing in drawn
    ]
    asked = [(thing, colour[thing]) for thing in dict.fromkeys(drawn)]
    return said, rng.sample(asked, min(questions, len(asked)))


@dataclass(frozen=True)
class Lookup:
    """Questions of one kind, each about a sheet of its own."""

    kind: Kind
    contexts: int
    repeats: int = 1

    def items(self, limit: int | None, seed: int, grammar: str) -> Iterator[Item]:
        """The first `limit` questions (200); the same for the same seed, any limit. Raises
        UsageError for a model that reads other problems only."""
        if grammar not in ("lookup", ""):
            raise UsageError(
                f"a model of the grammar {grammar} cannot read {self.kind}{self.contexts}; give "
                "--backend lookup, or a general model"
            )
        for number in range(200 if limit is None else limit):
            rng = random.Random(f"lookup/{self.kind}/{self.contexts}/{seed}/{number}")
            drawn = sheet(self.kind, self.contexts, FACTS, 1, rng)
            yield _item(drawn, f"{self.kind}{self.contexts}/{seed}/{number}", grammar)

    def describe(self) -> dict[str, str]:
        """Nothing: the questions follow from name, limit and seed."""
        return {}


def _item(drawn: Sheet, name: str, grammar: str) -> Item:
    (asked, answer), *_ = drawn.questions

    def fault(said: str | None) -> str | None:
        right = said is not None and said.strip(" .").lower() == answer.lower()
        return None if right else f"it is {answer}"

    return Item(name, f"{name}: {asked}", drawn.prompt(0, grammar), fault)


LOOKUPS = {
    f"{kind}{n}": Lookup(kind, n)
    for kind in KINDS
    for n in (1, 2, 4, 8, 16, 30, 60)
    if n <= most(kind)
}
"""Tasks by name: the kind, and how many contexts of 4 facts."""
