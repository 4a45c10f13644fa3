"""Distance to softmax attention of what stands in for it, for each budget.

  python3 -m experiments.attention_error [--config=FILE]
      [--config.FIELD=VALUE] [--out=DIR] [--worker=i/n] [--dry_run] [--help]

Mechanisms are the approximations of `lalm.measure.approximations`. Writes
DIR/<device>/: config.json, environment.json, records.jsonl, table.md and
figures/. With `--config.causal=True` and the same DIR both gain those
approximations that can be causal.
"""

import pathlib
import sys

from lalm.launch import command
from lalm.launch import schema
from lalm.report import progress

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_FIELDS = {
    "budgets": schema.Field(
        schema.several(schema.whole(0)),
        (0,),
        "features, rows, landmarks or tokens of a window; 0: its own",
        "budget",
    ),
    "sharpness": schema.Field(
        schema.several(schema.positive("a number")),
        (1.0,),
        "what logits are multiplied by, whose deviation is about 1",
        "sharpness",
    ),
}


def finish(folder: pathlib.Path) -> None:
  """Writes the table and the figure of a device's folder."""
  # Imported when they are needed: a command line is heard at once.
  from lalm.report import build, distances

  build.publish(folder, distances.tables, "errors", "distances_figure")


EXPERIMENT = command.Experiment(
    name="attention_error",
    summary=__doc__.partition("\n")[0],
    config=_ROOT / "configs" / "attention_error.py",
    target="lalm.measure.distance:TARGET",
    catalogue="lalm.measure.approximations",
    finish=finish,
    progress=progress.Line(),
    fields=_FIELDS,
    fixed={"passes": ("forward",)},
)

if __name__ == "__main__":
  sys.exit(command.run(sys.argv, EXPERIMENT))
