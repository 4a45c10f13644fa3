"""The longest context that fits on hardware not at hand, and its time there.

  python3 -m experiments.longest_context [--config=FILE]
      [--config.FIELD=VALUE] [--out=DIR] [--worker=i/n] [--dry_run] [--help]

Nothing is run: the compiler of each target says what a device holds. Writes
DIR/<target>/: config.json, environment.json, records.jsonl; and of all targets
DIR/table.md and DIR/figures/.
"""

import pathlib
import sys

from lalm.launch import command
from lalm.launch import schema
from lalm.report import progress

_ROOT = pathlib.Path(__file__).resolve().parents[1]


def finish(folder: pathlib.Path) -> None:
  """Writes table and figure of all targets beside a target's folder."""
  # Imported when they are needed: a refused command line answers at once.
  from lalm.report import longest

  longest.publish(folder.parent)


EXPERIMENT = command.Experiment(
    name="longest_context",
    summary=__doc__.partition("\n")[0],
    config=_ROOT / "configs" / "longest_context.py",
    target="lalm.measure.kernel:TARGET",
    catalogue="lalm.attention.catalogue",
    finish=finish,
    progress=progress.Line(),
    fields={
        "target": schema.ABSENT,
        "lengths": schema.Field(
            schema.whole(1, schema.LONGEST),
            32768,
            "tokens of the program that a search is known by",
            "length",
        ),
    },
    compiled="lalm.measure.targets.longest",
)

if __name__ == "__main__":
  sys.exit(command.run(sys.argv, EXPERIMENT))
