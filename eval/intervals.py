"""95% intervals of a share of right answers; the question is the sampling unit.

Two questions can be asked of an evaluation (Miller 2024, "Adding error bars to evals"), and each
has an interval of its own:

* *questions like these*: these are a draw from many. The variance of the mean is s²/Q, with s² that
  of the question means, which holds both what differs between questions and what differs between
  samples.
* *this set*: the questions are given, the samples are a draw. The variance is the mean over
  questions of x(1-x)/(n-1), over Q. One sample a question does not tell it.

Both are Wilson's score interval at an effective number of samples, n_eff = x̄(1-x̄)/variance, the
survey statistician's design effect (Korn & Graubard 1998; Dean & Pagano 2015; Franco et al. 2019).
Student's t on question means, which is the textbook's choice, covers 76 to 91 % instead of 95 %
with 30 questions and accuracies of 0.95 or 0.1, as the variance is small whenever the rare
questions were not drawn. What is uncertain of the variance is therefore widened by (t/z)², with as
many degrees of freedom as there were questions to learn it from, but never beyond what the mean
allows. docs/log.md has the coverage of all of these, by simulation.

Where questions share a group (variants of one problem), the group is what was drawn: for questions
like these it is the unit, and the variance that of the groups' sums (Liang & Zeger 1986).
"""

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

CONFIDENCE = 0.95
Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
ROUNDING = 1e-9
"""What two shares may differ by and still be the same."""
RESAMPLES = 9999
BATCH = 500
HELD = 1_000_000
"""Resamples, and figures in them, that are in memory at a time."""

Interval = tuple[float, float]
Values = NDArray[np.float64]
Counts = NDArray[np.int64]
Groups = Sequence[object] | None
"""The group of each question; None where every one stands for itself."""


def wilson(successes: float, trials: float) -> Interval:
    """Wilson's score interval of a proportion (Wilson 1927); also of an effective number."""
    p, slack = successes / trials, Z * Z / trials
    centre = (p + slack / 2) / (1 + slack)
    half = Z * sqrt((p * (1 - p) + slack / 4) / trials) / (1 + slack)
    low = 0.0 if successes == 0 else centre - half  # exactly, where rounding would miss it
    return low, 1.0 if successes == trials else centre + half


def like_these(
    means: Sequence[float] | Values,
    samples: Sequence[int] | Counts,
    groups: Groups = None,
) -> Interval:
    """Of the expected share of right answers, for questions like these.

    `means` are the shares of right answers by question, `samples` how many each is of. The design
    effect lies between that of independent samples and that of one answer per group; of this, what
    goes beyond independence is widened by (t/z)², t having one degree of freedom less than there
    are groups that are not all right (or not all wrong, whichever are fewer). With one sample a
    question it is Wilson's interval.
    """
    x, n = np.asarray(means, float), np.asarray(samples, float)
    labels, size = units_of(groups, len(x))
    floor = float((1 / n).sum()) / len(x) ** 2
    ceiling = float(size @ size) / len(x) ** 2
    informative = _informative(x, labels)
    return _score(float(x.mean()), _variance(x, labels), floor, ceiling, informative - 1)


def this_set(means: Sequence[float] | Values, samples: Sequence[int] | Counts) -> Interval | None:
    """Of the mean solve rate of these very questions; None unless all have two samples or more.

    The variance is widened by (t/z)², t having n-1 degrees of freedom for every question that was
    answered both right and wrong, up to that of independent samples of one solve rate.
    """
    x, n = np.asarray(means, float), np.asarray(samples, float)
    if (n < 2).any():
        return None
    square = len(x) ** 2
    variance = float((x * (1 - x) / (n - 1)).sum()) / square
    df = float((n - 1)[(x > 0) & (x < 1)].sum())
    return _score(float(x.mean()), variance, 0.0, float((1 / n).sum()) / square, df)


def bounded(means: Sequence[float] | Values, groups: Groups = None) -> Interval:
    """Of the expectation of any figure in 0..1, such as pass@k, for questions like these.

    As `like_these`, with nothing known of the samples: all of the variance is widened, and where
    there is none, each group counts as one answer.
    """
    x = np.asarray(means, float)
    labels, size = units_of(groups, len(x))
    variance = _variance(x, labels) if np.ptp(x) > ROUNDING else 0.0
    ceiling = float(size @ size) / len(x) ** 2
    return _score(float(x.mean()), variance, 0.0, ceiling, _informative(x, labels) - 1)


def _score(mean: float, variance: float, floor: float, ceiling: float, df: float) -> Interval:
    """Wilson's interval at n_eff; floor and ceiling of 1/n_eff, what exceeds the floor widened."""
    spread = mean * (1 - mean)
    inverse = 0.0
    if spread > 0 and df >= 1:
        widening = (float(stdtrit(df, (1 + CONFIDENCE) / 2)) / Z) ** 2
        inverse = min(floor + max(variance / spread - floor, 0.0) * widening, ceiling)
    inverse = inverse or ceiling  # where there is nothing to learn a variance from
    return wilson(mean / inverse, 1 / inverse)


def standard_error(values: Sequence[float] | Values, groups: Groups = None) -> float:
    """Of the mean of at least two questions, of two groups or more."""
    x = np.asarray(values, float)
    return sqrt(_variance(x, units_of(groups, len(x))[0])) if np.ptp(x) > ROUNDING else 0.0


def student(values: Sequence[float] | Values, groups: Groups = None) -> Interval:
    """Student's t on the means of at least two questions (Student 1908), of two groups or more. For
    large Q, or no skew."""
    x = np.asarray(values, float)
    count = len(units_of(groups, len(x))[1])
    half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * standard_error(x, groups)
    return float(x.mean()) - half, float(x.mean()) + half


def bootstrap(values: Sequence[float] | Values, seed: int = 0, groups: Groups = None) -> Interval:
    """Percentile bootstrap over at least two questions (Efron 1979), or over two groups or more,
    each with all of its questions; seeded. For large Q."""
    from scipy import stats  # slow to import

    x = np.asarray(values, float)
    labels, size = units_of(groups, len(x))

    def mean(sums: Values, sizes: Values, axis: int) -> Values:
        return np.asarray(sums.sum(axis=axis) / sizes.sum(axis=axis))

    found = stats.bootstrap(
        (np.bincount(labels, x), size) if groups else (x,),
        mean if groups else np.mean,
        paired=bool(groups),
        n_resamples=RESAMPLES,
        batch=max(min(BATCH, HELD // len(size)), 1),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def paired(x: Values, n: Counts, y: Values, m: Counts, groups: Groups = None) -> Interval:
    """Of the expected difference of two methods, for questions like these.

    `x` and `y` are their shares of right answers at the same questions, of `n` and `m` samples.
    From the interval of each (`like_these`) and the correlation of x and y over groups, after
    Newcombe (1998). With one sample a question on either side, where that covers too little, it is
    the interval of Agresti & Min (2005) with Student's t, which adds half a unit to each cell of
    the table of pairs. A single group tells nothing of others.
    """
    labels, size = units_of(groups, len(x))
    if len(size) == 1 < len(x):
        return -1.0, 1.0
    if (n == 1).all() and (m == 1).all():
        unit = float(size @ size) / len(x)  # 1 without groups
        total, count = len(x) + 2 * unit, len(size) + 2
        mean = float((x - y).sum()) / total
        sums = np.bincount(labels, x - y - mean)
        squares = float(sums @ sums) + unit * unit * (1 + 2 * mean * mean)
        half = float(stdtrit(max(len(size) - 1, 1), (1 + CONFIDENCE) / 2))
        half *= sqrt(squares * count / (count - 1)) / total
        return max(mean - half, -1.0), min(mean + half, 1.0)
    first, second = like_these(x, n, groups), like_these(y, m, groups)
    return mover(float(x.mean()), first, float(y.mean()), second, _correlation(x, y, labels))


def paired_bounded(x: Values, y: Values, groups: Groups = None) -> Interval:
    """Of the expected difference of any two figures in 0..1 at the same questions, such as pass@k:
    as `paired`, from `bounded` of each."""
    labels, size = units_of(groups, len(x))
    if len(size) == 1 < len(x):
        return -1.0, 1.0
    first, second = bounded(x, groups), bounded(y, groups)
    return mover(float(x.mean()), first, float(y.mean()), second, _correlation(x, y, labels))


def mover(
    a: float, first: Interval, b: float, second: Interval, correlation: float = 0.0
) -> Interval:
    """Of the difference a - b of two estimates, from an interval of each.

    The distances to their limits add up as standard errors do (Newcombe 1998, "Improved confidence
    intervals for the difference between binomial proportions based on paired data", method 10).
    """

    def distance(one: float, other: float) -> float:
        return sqrt(max(one * one - 2 * correlation * one * other + other * other, 0.0))

    low = a - b - distance(a - first[0], second[1] - b)
    return low, a - b + distance(first[1] - a, b - second[0])


def units_of(groups: Groups, questions: int) -> tuple[Counts, Values]:
    """The unit of each question by number, and how many questions each unit has."""
    if groups is None:
        return np.arange(questions), np.ones(questions)
    names = np.array([str(group) for group in groups])
    labels = np.unique(names, return_inverse=True)[1]
    return labels, np.bincount(labels).astype(float)


def _variance(x: Values, labels: Counts) -> float:
    """Of the mean of x: that of the sums of the units."""
    sums = np.bincount(labels, x - x.mean())
    return float(sums @ sums) / len(x) ** 2 * len(sums) / max(len(sums) - 1, 1)


def _informative(x: Values, labels: Counts) -> int:
    """Units that are not all right, or not all wrong, whichever are fewer."""
    right, wrong = np.bincount(labels, x), np.bincount(labels, 1 - x)
    return min(int((wrong > 0).sum()), int((right > 0).sum()))


def _correlation(x: Values, y: Values, labels: Counts) -> float:
    """Of the two means."""
    one, two = np.bincount(labels, x - x.mean()), np.bincount(labels, y - y.mean())
    varying = sqrt(float(one @ one) * float(two @ two))
    return float(one @ two) / varying if varying > ROUNDING else 0.0
