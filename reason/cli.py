"""The `reason` command. With its part for training, the only module of this package that knows the
others."""

from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from reason.cli_contexts import cache_app, tune_app
from reason.cli_train import train_app
from reason.command import group, stoppable
from reason.config import Values, unknown_key
from reason.errors import UsageError
from reason.keys import Ask, Calibrate, Chat, Compare, Eval, Methods, Power, Replay, Report, Sweep
from reason.options import command
from reason.serve_keys import Serve
from reason.session import connected, run, terminal
from reason.settings import method_of

app = group("Adaptive parallel reasoning: a model works in a tree of threads.")
app.add_typer(train_app, name="train")
app.add_typer(cache_app, name="cache")
app.add_typer(tune_app, name="tune")


def _version(asked: bool) -> None:
    if asked:
        print(f"reason {version('reason-engine')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version")
    ] = False,
) -> None: ...


PRICES = (
    'A price table: [models."Qwen/Qwen3-8B"] with prompt = 0.10, cached = 0.02 and sampled = 0.40, '
    'each for a million tokens; currency = "USD" above it.'
)
CONTROLLERS = (
    "Controllers: apr, threadweaver, pdr, sr, atts, single, self_consistency, best_of_n, "
    "budget_forcing, adaptive_consistency, confidence, beam, tournament, ape. `reason methods "
    "NAME` lists the keys of one."
)


@command(app, "ask", Ask, "[PROBLEM] [KEY=VALUE]", epilog=CONTROLLERS)
def ask_command(asked: Ask, tables: Values) -> int:
    """Put a problem to a model and watch its threads.

    For example: reason ask "make 24 from 3 5 7 8". KEY=VALUE sets any option, and any field of
    the method or its budget: width=4 sampling.temperature=0.7 budget.critical_path=4k.
    """
    from controllers.methods import method_named
    from eval.asking import prepared
    from reason.ask import ask, kept
    from reason.output import Output, check_writable

    method_of(Ask, tables, method_named(asked.controller), method_named)  # before models are loaded
    if not asked.problem.strip():
        raise UsageError('nothing was asked; for example: reason ask "make 24 from 3 5 7 8"')
    check_writable(asked.svg, asked.record)
    console = terminal()
    models = connected(asked.backend, tables, console)

    async def work() -> int:
        turn = prepared(asked.problem, tables, models, Ask)
        output = Output(console, asked.json, asked.svg)
        return await ask(turn, models, output, seed=asked.seed, record=asked.record)

    return run(work(), models, lambda: kept(asked.record))


@command(app, "chat", Chat, "[QUESTION] [KEY=VALUE]", epilog=CONTROLLERS)
def chat_command(asked: Chat, tables: Values) -> int:
    """Talk to a model while its threads are watched and steered.

    For example: reason chat, or reason chat -b hf:NAME -c single. KEY=VALUE sets any field of the
    method or its budget; /help lists commands and keys.
    """
    from controllers.methods import METHODS, method_named
    from eval.asking import Chosen, prepared
    from reason.chat.command import chat
    from reason.chat.commands import Methods as Known
    from reason.knobs import knobs_of

    def check(settings: Mapping[str, Any]) -> object:
        method = method_named(settings.get("controller", Chosen.controller))
        return method_of(Chosen, dict(settings), method, method_named)

    known = Known(tuple(METHODS), lambda name: tuple(knobs_of(method_named(name))), check)
    return chat(asked, tables, prepared, known)


@command(app, "replay", Replay, "[FILE] [KEY=VALUE]", toml=False)
def replay_command(asked: Replay, tables: Values) -> int:
    """Play back a run that `reason ask --record FILE` wrote."""
    from reason.output import Output, check_writable
    from reason.replay import replay

    unknown_key(tables, [field.name for field in fields(Replay)])
    if not asked.recording:
        raise UsageError("which run? for example: reason replay run.jsonl")
    if not 0 <= asked.speed < float("inf"):
        raise UsageError(f"speed must be 0 or more, got {asked.speed}")
    check_writable(asked.svg)
    return run(
        replay(Path(asked.recording), Output(terminal(), asked.json, asked.svg), asked.speed)
    )


@command(app, "eval", Eval, "[TASK[:REPEATS],…|CONFIG.toml] [KEY=VALUE]", epilog=CONTROLLERS)
def eval_command(asked: Eval, tables: Values) -> int:
    """Measure a method on the problems of tasks.

    For example: reason eval countdown4:2 --controller apr width=4 --out runs/x, or several at
    once: reason eval aime24:16,math500@my/copy.jsonl. A folder that holds a part of the same
    evaluation is completed. KEY=VALUE sets any option, and any field of the method or its budget.
    """
    from eval.command import kept
    from eval.evaluation import Evaluation

    evaluation = Evaluation.of(asked, tables)
    console = terminal()
    models = evaluation.connect(console)
    return run(
        evaluation.go(models, console),
        models,
        lambda: kept(evaluation.out),
        virtual=evaluation.archive is not None,
    )


@command(app, "sweep", Sweep, "CONFIG.toml [KEY=VALUE]", toml=False)
def sweep_command(asked: Sweep, tables: Values) -> int:
    """Evaluate every cell of a grid of methods, budgets and sampling.

    For example: reason sweep countdown.toml --out runs/study. A folder that holds a part of the
    same sweep is completed. KEY=VALUE sets any option of `reason eval` in all cells.
    """
    from rich.console import Console

    from eval.sweep import Sweep as Cells
    from eval.sweep import sweep_file

    own = {field.name for field in fields(Sweep)}
    changes = {name: value for name, value in tables.items() if name not in own}
    sweep = Cells.of(sweep_file(asked.file()), changes, asked.out, data=not asked.dry_run)
    console = terminal()
    if asked.dry_run:
        sweep.foretell(console, asked.json)
        return 0
    shown = Console(quiet=True) if asked.json else console
    if asked.on:
        from eval.ray_cells import go_on_ray

        code = go_on_ray(sweep, asked.on, asked.cpus, asked.gpus, shown)
    else:
        code = sweep.go(shown)
    sweep.show(console, asked.json)
    return code


@command(app, "report", Report, "[DIR…] [KEY=VALUE]", epilog=PRICES)
def report_command(asked: Report, tables: Values) -> int:
    """Put evaluations side by side: tables, plots and a page.

    For example: reason report runs/apr runs/single --out report. A folder of folders stands for
    all evaluations below it; report/report.html shows every run's thread tree and needs nothing
    else to be opened.
    """
    from eval.publish import Publication

    unknown_key(tables, [field.name for field in fields(Report)])
    with stoppable(str):
        report = Publication(
            asked.folders, asked.out, asked.prices, asked.trees, asked.common, asked.json
        )
        return report.write(terminal())


@command(app, "compare", Compare, "[DIR DIR…] [KEY=VALUE]", toml=False)
def compare_command(asked: Compare, tables: Values) -> int:
    """Hold one evaluation against others, question by question.

    For example: reason compare runs/apr runs/single critical_path=256,512. Accuracy of the first
    less that of each other, with intervals and permutation tests, for questions like these and for
    this very set, without a limit and within budgets.
    """
    from eval.compare import compare

    unknown_key(tables, [field.name for field in fields(Compare)])
    return compare(asked, terminal())


@command(app, "power", Power, "[TASK[:REPEATS],…] [KEY=VALUE]", toml=False)
def power_command(asked: Power, tables: Values) -> int:
    """Say which difference an evaluation could show, before it is run.

    For example: reason power aime24 --repeats 16, or with what an evaluation tells of questions
    and model: reason power math500:4 --like runs/single difference=0.03.
    """
    from eval.plan import planned
    from eval.plan_table import publish

    unknown_key(tables, [field.name for field in fields(Power)])
    return publish(planned(asked), terminal(), asked.json)


@command(app, "calibrate", Calibrate, "[TASK|CONFIG.toml] [KEY=VALUE]")
def calibrate_command(asked: Calibrate, tables: Values) -> int:
    """Collect the scores that atts decides by, or audit decisions.

    For example: reason calibrate countdown4 --backend countdown-draft backends.target=countdown-apr
    rate=0.25 --out calibration.json, then reason eval … -c atts rate=0.25
    calibration=calibration.json, then reason calibrate --audit DIR.
    """
    if asked.audit:
        from eval.audits import audit_folder

        unknown_key(tables, ("audit", "calibration", "out", "json"))
        with stoppable(str):
            return audit_folder(asked.audit, asked, terminal())
    from eval.calibrate import Calibrating

    calibrating = Calibrating.of(asked, tables)
    console = terminal()
    models = connected(asked.backend, tables, console)
    return run(calibrating.go(models, console), models, lambda: "no score was kept")


@command(app, "serve", Serve, "[NAME] [KEY=VALUE]", epilog=CONTROLLERS)
def serve_command(asked: Serve, tables: Values) -> int:
    """Serve a model and every method over OpenAI's API.

    For example: reason serve -b sglang://localhost:30000, and then any client of OpenAI's with
    model=MODEL+apr. NAME is what clients call the model; methods.apr.width=4 is a method's key.
    """
    from controllers.methods import METHODS, method_named
    from eval.asking import Chosen, prepared
    from reason.extras import extra

    with extra("serve"):
        from reason.serve.command import serve_command as serve

    def check(name: str, knobs: Mapping[str, Any]) -> object:
        return method_of(Chosen, dict(knobs), method_named(name), method_named)

    return serve(asked, tables, prepared, tuple(METHODS), check)


@command(app, "methods", Methods, "[NAME…]", toml=False)
def methods_command(asked: Methods, tables: Values) -> int:
    """List the methods, or every key of one, with its default.

    For example: reason methods apr. What it lists is given as KEY=VALUE to `reason ask` and
    `reason eval`, and as TOML to them and to `reason sweep`.
    """
    from controllers.listing import show

    unknown_key(tables, [field.name for field in fields(Methods)])
    return show(asked.names, terminal(), asked.json)


def main() -> None:
    """Entry point of the `reason` command."""
    app(prog_name="reason")


if __name__ == "__main__":
    main()
