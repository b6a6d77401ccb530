"""Examples of looking things up, for the model that is trained on contexts one after another."""

import random
from collections.abc import Iterator

from eval.lookup import KINDS, most, sheet
from rl.recipe import LookupMixture
from rl.traces import Example

FACTS = (2, 3, 4, 6)
"""In a context."""


def lookups(mixture: LookupMixture, seed: int | str) -> Iterator[Example]:
    """An endless, seeded stream: contexts, then several questions in turn, whose answers are
    learnt."""
    rng = random.Random(f"lookup/{seed}")
    weights = [getattr(mixture, kind) for kind in KINDS]
    while True:
        (kind,) = rng.choices(KINDS, weights)
        facts = rng.choice(FACTS)
        contexts = rng.randint(1, min(max(mixture.facts // facts, 1), most(kind, facts)))
        drawn = sheet(kind, contexts, facts, mixture.questions, rng, mixture.noise)
        written: list[str] = []
        silent: list[int] = []
        for asked, answer in drawn.questions:
            silent += [len(written), len(written) + 1]
            written += ["?", asked, answer, "<eos>"]
        if written:
            context = (drawn.prefix + "".join(drawn.texts)).split()
            yield Example(kind, context, written, frozenset(silent))
