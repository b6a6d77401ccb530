"""What a rollout is worth: plain functions of it, which a recipe gives a weight each."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Literal

from reason.settings import choose
from rl.rollouts import Rollout

Reward = Callable[[Rollout], float]


def correctness(rollout: Rollout) -> float:
    """1 if the answer is right, else 0."""
    return float(rollout.correct)


def sign(rollout: Rollout) -> float:
    """1 if the answer is right, else -1 (PDR, Madaan et al. 2025, section 4.3)."""
    return 1.0 if rollout.correct else -1.0


def acceleration(
    rollout: Rollout, of: Literal["critical_path", "longest"] = "critical_path"
) -> float:
    """The share of the sampled tokens that nobody had to wait for, in [0, 1); 0 if wrong.

    1 - L / L_total of P-GRPO (ThreadWeaver, Lian et al. 2025, equation 3). The paper's L is the
    `longest` thread from the root, prompt included; the critical path is what is waited for.
    """
    tree, total = rollout.run.tree, rollout.run.ledger.total_tokens
    if not rollout.correct or not total:
        return 0.0
    if of == "critical_path":
        return 1.0 - tree.critical_path / total
    prompts = sum(len(s.ids) for s in tree.root.segments if s.origin == "prompt")
    return max(0.0, 1.0 - tree.longest_sequence / (total + prompts))


def longest_acceleration(rollout: Rollout) -> float:
    """`acceleration` as in the paper."""
    return acceleration(rollout, "longest")


def bonus(rollout: Rollout, scale: float = 0.5, most: float = 0.2) -> float:
    """min(scale · acceleration, most): what P-GRPO adds for a right answer (rho and its clip)."""
    return min(scale * acceleration(rollout), most)


def form(rollout: Rollout) -> float:
    """0 if every thread of the run came to its own end and no block was refused, else -1.

    A limit of the budget or of a request, a failure, and what a method notes as refused, unclosed
    or unreadable count as breaches.
    """
    tree = rollout.run.tree
    cut = any(thread.finish in ("length", "budget", "error") for thread in tree)
    words = ("refused", "unclosed", "unreadable", "malformed", "empty", "duplicate")
    told = any(word in note.name for note in tree.notes for word in words)
    return -1.0 if cut or told or rollout.run.result is None else 0.0


def redundancy(rollout: Rollout) -> float:
    """Minus the share of threads that do what another did: a child with the same prompt as one
    before it, a fork that wrote the same tokens."""
    lines: Counter[tuple[object, ...]] = Counter()
    for thread in rollout.run.tree:
        if thread.parent is None or thread.continues:
            continue
        origin = "sampled" if thread.kept else "prompt"
        said = tuple(i for s in thread.segments if s.origin == origin for i in s.ids)
        lines[thread.model, bool(thread.kept), said] += 1
    total = lines.total()
    return -(total - len(lines)) / total if total else 0.0


def tokens(rollout: Rollout) -> float:
    """Minus what a right answer cost, in thousands of sampled tokens of all threads."""
    return -rollout.run.ledger.total_tokens / 1000 if rollout.correct else 0.0


def path(rollout: Rollout) -> float:
    """Minus what a right answer kept its user waiting, in thousands of tokens of critical path."""
    return -rollout.run.tree.critical_path / 1000 if rollout.correct else 0.0


REWARDS: Mapping[str, Reward] = {
    "correctness": correctness,
    "sign": sign,
    "acceleration": acceleration,
    "longest_acceleration": longest_acceleration,
    "bonus": bonus,
    "form": form,
    "redundancy": redundancy,
    "tokens": tokens,
    "path": path,
}
"""By the names that recipes give them, with a weight each."""


def reward_named(name: str) -> Reward:
    """The function of that name. Raises UsageError naming those that exist."""
    return choose("reward", name, REWARDS)
