"""What holds of the code as a whole, read from its syntax trees."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = ["reason", "calibration", "controllers", "eval", "rl"]
SEES_EVERYTHING = ["reason.cli", "reason.cli_contexts", "reason.cli_train"]
HEAVY = ["torch", "transformers", "sglang", "trl", "datasets", "matplotlib"]
LIGHT = [
    "reason.run",
    "reason.record",
    "reason.config",
    "reason.cli",
    "controllers.apr",
    "controllers.best_of_n",
    "controllers.self_consistency",
    "controllers.single",
    "eval.countdown",
    "eval.tasks",
]


def name_of(file: Path, root: Path = ROOT) -> str:
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(f): f for package in ORDER for f in sorted((ROOT / package).rglob("*.py"))}
PARAMETERS = pytest.mark.parametrize("name", MODULES)


def tree_of(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def imports(tree: ast.AST, module: str, package: bool = False) -> Iterator[str]:
    """The absolute names of all that is imported, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")
            above = above[: len(above) + package - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def too_high(name: str, tree: ast.AST) -> list[str]:
    """What it imports of packages that stand above its own."""
    allowed = ORDER[: ORDER.index(name.split(".")[0]) + 1]
    found = imports(tree, name)
    return [i for i in found if i.split(".")[0] in ORDER and i.split(".")[0] not in allowed]


def forbidden(tree: ast.AST) -> list[str]:
    """Ways to run what was read: eval, exec, pickle, torch.load."""
    found = [i for i in imports(tree, "") if i.split(".")[0] in ("pickle", "dill", "cloudpickle")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("eval", "exec", "builtins.eval", "builtins.exec", "torch.load"):
                found.append(called)
    return found


@PARAMETERS
def test_packages_import_only_what_stands_below_them(name: str) -> None:
    if name not in SEES_EVERYTHING:
        assert too_high(name, tree_of(name)) == []


@PARAMETERS
def test_nothing_that_was_read_is_run(name: str) -> None:
    assert forbidden(tree_of(name)) == []


@PARAMETERS
def test_no_file_outgrows_300_lines(name: str) -> None:
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("name", SEES_EVERYTHING)
def test_only_the_command_line_sees_everything_and_only_inside_its_commands(name: str) -> None:
    assert too_high(name, tree_of(name)) != []
    outside = [n for n in tree_of(name).body if isinstance(n, ast.Import | ast.ImportFrom)]
    assert too_high(name, ast.Module(list(outside), [])) == []


def cycle(edges: dict[str, set[str]]) -> list[str]:
    """Some modules that import each other in a circle, if there are."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in sorted(edges.get(name, ())):
            if found := visit(other, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in edges if (found := visit(name, []))), [])


def test_no_modules_import_each_other_in_a_circle() -> None:
    edges = {}
    for name, file in MODULES.items():
        found = set(imports(tree_of(name), name, file.name == "__init__.py"))
        edges[name] = {other for other in MODULES if other in found and other != name}
    assert cycle(edges) == []
    assert "reason.types" in edges["reason.engine"]  # else nothing was looked at


def test_these_checks_see_what_they_look_for() -> None:
    wrong = ast.parse("def f():\n    from controllers.apr import AdaptiveParallel\nimport rl.sft")
    assert set(too_high("reason.x", wrong)) == {
        "controllers.apr",
        "controllers.apr.AdaptiveParallel",
        "rl.sft",
    }
    assert too_high("rl.x", wrong) == []
    assert set(imports(ast.parse("from . import a\nfrom ..b import c"), "p.q.m")) == {
        "p.q", "p.q.a", "p.b", "p.b.c",
    }  # fmt: skip
    assert "p.q.a" in set(imports(ast.parse("from . import a"), "p.q", package=True))
    read = "import pickle\nmodel.eval()\neval('1')\ntorch.load(f)\nexec(s)\nx.load(f)"
    assert forbidden(ast.parse(read)) == ["pickle", "eval", "torch.load", "exec"]
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_light_modules_do_not_load_heavy_libraries() -> None:
    """The same interpreter loads one module after the other, and says who loaded what."""
    script = f"""
import importlib, sys
for name in {[name for name in LIGHT if name in MODULES]!r}:
    importlib.import_module(name)
    print(name, *[heavy for heavy in {HEAVY!r} if heavy in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [name for name in LIGHT if name in MODULES]
