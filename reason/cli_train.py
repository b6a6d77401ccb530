"""`reason train`: the commands that train a model, and that make what it is trained on."""

import os
from dataclasses import fields
from pathlib import Path

from reason.command import group, stoppable
from reason.config import Values, build, merge, read_toml, unknown_key
from reason.errors import UsageError
from reason.extras import extra
from reason.keys import Curves, Traces, Train, Trees
from reason.options import command
from reason.session import terminal

train_app = group("Train a model.")


def _given(asked: Train | Trees, tables: Values) -> tuple[Path, Values]:
    """The folder, and what was said of the recipe. Raises UsageError without a folder."""
    if asked.out is None:
        raise UsageError("where to? give --out DIR")
    own = {field.name for field in fields(asked)}
    return asked.out, {name: value for name, value in tables.items() if name not in own}


@command(train_app, "sft", Train, "[RECIPE.toml] [KEY=VALUE]", toml=False)
def sft_command(asked: Train, tables: Values) -> int:
    """Train a model on a recipe.

    For example: reason train sft countdown --out runs/sft. A folder that holds a part of the same
    training is gone on with. KEY=VALUE sets any key of the recipe.
    """
    with extra("hf"):
        from rl.recipe import Recipe, recipe_file
        from rl.sft import train

    out, given = _given(asked, tables)
    recipe = build(Recipe, merge(read_toml(recipe_file(asked.recipe)), given))

    def kept() -> str:
        if not (out / "progress.json").exists():
            return "there is no checkpoint yet"
        return f"the last checkpoint is in {out}; the same command goes on from there"

    with stoppable(kept):
        train(recipe, out, terminal())
    return 0


@command(train_app, "grpo", Train, "[RECIPE.toml] [KEY=VALUE]", toml=False)
def grpo_command(asked: Train, tables: Values) -> int:
    """Train a model by reinforcement on runs of a method.

    For example: reason train grpo apr_countdown --out runs/grpo. A folder that holds a part of the
    same training is gone on with. KEY=VALUE sets any key of the recipe: width=2 grpo.max_steps=50.
    """
    # TRL's version is pinned, and a test looks at what is built on: its users need not be told.
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    with extra("rl"):
        from rl.grpo_recipe import Plan
        from rl.grpo_run import train_grpo
        from rl.recipe import recipe_file
        from rl.resume import kept

    out, given = _given(asked, tables)
    plan = Plan.of(merge(read_toml(recipe_file(asked.recipe, grpo=True)), given))
    with stoppable(lambda: kept(out, "grpo.save_steps")):
        if plan.recipe.ahead:
            from rl.async_run import train_ahead

            train_ahead(plan, out, terminal())
        else:
            train_grpo(plan, out, terminal())
    return 0


@command(train_app, "trees", Trees, "[DIR|FILE.jsonl] [KEY=VALUE]", toml=False)
def trees_command(asked: Trees, tables: Values) -> int:
    """Train a model to imitate runs, such as those that were right.

    For example: reason train trees runs/eval --model Qwen/Qwen3-0.6B --out runs/imitation
    sft.num_train_epochs=2. Of an evaluation's folder the right runs are taken, of a file all. A
    folder that holds a part of the same training is gone on with.
    """
    with extra("rl"):
        from rl.resume import kept
        from rl.tree_sft import Imitation, train_trees

    out, given = _given(asked, tables)
    imitation = Imitation.of(asked, given)
    with stoppable(lambda: kept(out, "sft.save_steps")):
        train_trees(imitation, out, terminal())
    return 0


@command(train_app, "curves", Curves, "DIR…", toml=False)
def curves_command(asked: Curves, tables: Values) -> int:
    """Draw the curves of trainings, one or several in one picture.

    For example: reason train curves runs/seed-0 runs/seed-1 --out curves.png.
    """
    from rl.curves import draw, logs_of

    unknown_key(tables, [field.name for field in fields(Curves)])
    if not asked.folders:
        raise UsageError("which trainings? for example: reason train curves runs/seed-0")
    runs = {folder.name: logs_of(folder) for folder in asked.folders}
    if len(runs) < len(asked.folders):
        runs = {str(folder): logs_of(folder) for folder in asked.folders}
    draw(runs, asked.out)
    terminal().print(f"the picture is {asked.out}", markup=False, soft_wrap=True)
    return 0


@command(train_app, "traces", Traces, "[FILE.jsonl] [KEY=VALUE]", toml=False)
def traces_command(asked: Traces, tables: Values) -> int:
    """Make threads of sequential chains, by any teacher."""
    from rl.traced.command import make

    return make(asked, tables, terminal())
