"""How sure an accuracy is, in every way one may ask: of this set, by bootstrap, by its parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import sqrt
from statistics import fmean

from eval.estimates import components
from eval.groups import groups_of, units
from eval.intervals import ROUNDING, Interval, bootstrap, standard_error, this_set
from eval.samples import Sample


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """Of a mean over questions; None where the samples do not tell."""

    standard_error: float | None
    """For questions like these: sd(question means) / sqrt(Q), or that of groups of variants; of two
    questions or groups or more."""
    standard_error_this_set: float | None
    """For these very questions: sqrt(within / (Q n)); of two samples a question or more."""
    bootstrap: Interval | None
    """95%, percentiles over resampled questions, or groups of variants: a check for large Q, which
    covers too little at 30. None where all questions are alike, or of one group."""
    this_set: Interval | None
    """95%, for these very questions."""
    between: float | None
    """Variance of the solve rates of questions."""
    within: float | None
    """Mean over questions of p(1-p): the variance of a sample of a given question."""
    icc: float | None
    """Share of the variance of a sample that lies between questions."""


def uncertainty(questions: Mapping[str, Sequence[Sample]]) -> Uncertainty:
    """Of at least one question with at least one sample each."""
    right = [[row.correct for row in of] for of in questions.values()]
    means, sizes = [fmean(given) for given in right], [len(given) for given in right]
    groups = units(groups_of(chain.from_iterable(questions.values())))
    drawn = len(set(groups)) if groups else len(means)
    parts = components(means, sizes)
    several = min(sizes) > 1
    noise = [x * (1 - x) / (n - 1) for x, n in zip(means, sizes, strict=True)] if several else []
    varied = max(means) - min(means) > ROUNDING
    return Uncertainty(
        standard_error=standard_error(means, groups) if drawn > 1 else None,
        standard_error_this_set=sqrt(sum(noise)) / len(means) if several else None,
        bootstrap=bootstrap(means, groups=groups) if varied and drawn > 1 else None,
        this_set=this_set(means, sizes),
        between=parts.between if parts else None,
        within=parts.within if parts else None,
        icc=parts.icc if parts else None,
    )
