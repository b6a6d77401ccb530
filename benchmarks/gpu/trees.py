"""Does the speed-up of parallel threads, counted in tokens, arrive on the clock of a GPU?

    python -m benchmarks.gpu.trees [--models 0.6b 8b] [--loads 1 8 64] [--seconds 400] [--markdown]
    python -m benchmarks.gpu.trees --smoke      # the whole of it, small, on a CPU

Makes the models, serves one after the other, and grows trees in the sizes of papers: on the clock
against as many tokens by one thread, and against a client without our layer. Each cell is appended
to --out as soon as it is measured; what is there already is not measured again. With --seconds, no
cell is begun later than that: another call does the rest, and exit code 1 says that there is one.
"""

import argparse
import asyncio
import gc
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from time import monotonic

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.bare import Bare
from benchmarks.gpu.cells import GOAL, Bench, Cell, Row
from benchmarks.gpu.shapes import PLANS
from reason.backends.sglang_launch import LaunchedSGLang
from reason.errors import BackendError

SERVERS = {
    "cuda": {
        "attention_backend": "triton",
        "sampling_backend": "pytorch",
        "grammar_backend": "none",
    },
    "cpu": {"device": "cpu", "max_running_requests": "256", "max_total_tokens": "65536"},
}
"""Flags unless the user says otherwise; on a GPU, what the smallest set of wheels can do."""
MODELS = ("0.6b", "8b", "tiny")
LOADS = (1, 8, 64)
SMOKE = {
    "models": ["tiny"],
    "loads": [1, 4],
    "scale": 0.02,
    "device": "cpu",
    "python": os.environ.get(
        "REASON_SGLANG_PYTHON", str(Path(__file__).parents[2] / ".venv-sglang" / "bin" / "python")
    ),
    "out": Path("runs/gpu/smoke.jsonl"),
}
"""Options under --smoke: on a CPU, it only shows that everything works."""
WARM = 0.02
"""Scale of the trees that warm a server up."""
COLUMNS = (
    "model", "shape", "trees", "children", "tokens", "sequence", "tree", "path", "clock",
    "arrives", "cached", "CPU/token", "bare", "ratio",
)  # fmt: skip

say = Console(stderr=True, highlight=False).print


def cells(options: argparse.Namespace, model: str) -> Iterator[Cell]:
    """The small loads first: the goal is about these."""
    flags = " ".join(f"{name}={value}" for name, value in sorted(flags_of(options).items()))
    for load in options.loads:
        for shape in options.shapes:
            yield Cell(model, shape, load, options.scale, flags)


def flags_of(options: argparse.Namespace) -> dict[str, str]:
    given = dict(flag.split("=", 1) for flag in options.server)
    return {**SERVERS[options.device], **given}


def rows_of(path: Path) -> list[Row]:
    """What was measured before; a last line that was cut short is not."""
    rows = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        with suppress(msgspec.DecodeError):
            rows.append(msgspec.json.decode(line, type=Row))
    return rows


async def serve(options: argparse.Namespace, model: str, todo: Sequence[Cell], end: float) -> bool:
    """Measure these cells of one model; whether all were."""
    flags, complete = flags_of(options), True
    command = [sys.executable, "-m", "benchmarks.gpu.model", model, str(options.folder)]
    command += ["--no-weights"] if flags.get("load_format") == "dummy" else []
    began = monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    say(f"{model}: made in {monotonic() - began:.0f} s")
    path = str(options.folder / model)
    backend = LaunchedSGLang(path, python=options.python, wait=options.wait, server=flags)
    gc.freeze()  # as a command does
    try:
        say(f"{model}: served after {monotonic() - began:.0f} s")
        with tempfile.TemporaryDirectory() as folder:
            async with Bare(backend.url) as client:
                bench = Bench(backend, client, Path(folder), hardware())
                for load in {1, max(cell.load for cell in todo)}:
                    for shape in options.shapes:
                        await bench.warm(Cell(model, shape, load, WARM, ""))
                for cell in todo:
                    name = f"{cell.model} {cell.shape}, {cell.load} at once"
                    if monotonic() > end:
                        say(f"{name}: left for another call", style="yellow")
                        complete = False
                        continue
                    began = monotonic()
                    try:
                        row = await bench.measure(cell, options.repeats)
                    except BackendError as error:
                        say(f"{name}: {error}", style="red")
                        complete = False
                        continue
                    with options.out.open("ab") as file:
                        file.write(msgspec.json.encode(row) + b"\n")
                    took = monotonic() - began
                    say(f"{name}: {row.arrives:.0%} of {row.path:.2f} arrives, {took:.0f} s")
    finally:
        await backend.close()
    return complete


def hardware() -> str:
    if shutil.which("nvidia-smi"):
        ask = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        return subprocess.run(ask, capture_output=True, text=True).stdout.strip()
    return f"{platform.machine()} CPU"


def texts(row: Row) -> tuple[str, ...]:
    cell = row.cell
    return (
        cell.model,
        cell.shape + ("" if cell.scale == 1 else f" x {cell.scale:g}"),
        str(cell.load),
        str(row.threads),
        f"{row.tokens:,}",
        f"{row.sequence_seconds:.1f} s",
        f"{min(row.tree_seconds):.1f} to {max(row.tree_seconds):.1f} s",
        f"{row.path:.2f}",
        f"{row.wall:.2f}",
        f"{row.arrives:.0%}",
        f"{row.cached:.0%}",
        f"{row.cpu_us:.0f} us",
        f"{row.bare_cpu_us:.0f} us",
        f"{row.ratio:.3f}",
    )


def table(rows: Sequence[Row]) -> Table:
    shown = Table(title="Trees against the same tokens in sequence", title_justify="left")
    for i, column in enumerate(COLUMNS):
        shown.add_column(column, justify="right" if i > 1 else "left")
    for row in rows:
        shown.add_row(*texts(row))
    shown.caption = (
        "path, clock: speed-up in critical-path tokens and in time; arrives: the second as a share "
        f"of the first (goal with one tree: {GOAL:.0%}); cached: of all prompt tokens; ratio: "
        "throughput to that of a client without our layer"
    )
    return shown


def markdown(rows: Sequence[Row]) -> str:
    lines = [COLUMNS, ("---",) * len(COLUMNS), *map(texts, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def options_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=["0.6b", "8b"], choices=MODELS)
    parser.add_argument("--shapes", nargs="+", default=list(PLANS), choices=list(PLANS))
    parser.add_argument("--loads", nargs="+", type=int, default=list(LOADS))
    parser.add_argument("--scale", type=float, default=0.25, help="of the papers' lengths")
    parser.add_argument("--repeats", type=int, default=2, help="of the trees, not of the sequence")
    parser.add_argument("--device", default="cuda", choices=list(SERVERS))
    parser.add_argument("--server", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has sglang")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir(), "models"))
    parser.add_argument("--out", type=Path, default=Path("runs/gpu/trees.jsonl"))
    parser.add_argument("--seconds", type=float, default=400, help="begin no cell after these")
    parser.add_argument("--wait", type=float, default=240, help="seconds for a server to start")
    parser.add_argument("--json", action="store_true", help="one JSON list instead of a table")
    parser.add_argument("--markdown", action="store_true", help="a table for a document instead")
    parser.add_argument("--smoke", action="store_true", help="small, on a CPU: does it work?")
    if parser.parse_known_args()[0].smoke:
        parser.set_defaults(**SMOKE)
    options = parser.parse_args()
    if any("=" not in flag for flag in options.server):
        parser.error("--server takes NAME=VALUE, such as attention_backend=fa3")
    return options


def main() -> None:
    options = options_of()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    end, complete = monotonic() + options.seconds, True
    wanted = {model: list(cells(options, model)) for model in options.models}
    for model, asked in wanted.items():
        known = {row.cell for row in rows_of(options.out)}
        todo = [cell for cell in asked if cell not in known]
        try:
            complete &= not todo or asyncio.run(serve(options, model, todo, end))
        except BackendError as error:  # the next model may do
            say(f"{model}: {error}", style="red")
            complete = False
    rows = [row for row in rows_of(options.out) if row.cell in wanted.get(row.cell.model, [])]
    if options.json:
        print(json.dumps([asdict(row) for row in rows]))
    elif options.markdown:
        print(markdown(rows))
    else:
        Console(width=None if sys.stdout.isatty() else 150).print(table(rows))
    sys.exit(not complete)


if __name__ == "__main__":
    main()
