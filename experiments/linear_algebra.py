"""Linear algebra of a model's weights: seconds and errors, beside libraries.

  python3 -m experiments.linear_algebra [--config=FILE]
      [--config.weights=PATH] [--config.FIELD=VALUE] [--out=DIR]
      [--worker=i/n] [--dry_run] [--help]

Libraries that are installed are asked the same (the extra `references` has
them). Writes DIR/<device>/: config.json, environment.json, records.jsonl,
table.md.
"""

import pathlib
import sys

from lalm.launch import command
from lalm.launch import schema
from lalm.report import progress

_ROOT = pathlib.Path(__file__).resolve().parents[1]


def finish(folder: pathlib.Path) -> None:
  """Writes the table of a device's folder and prints it."""
  # Imported when they are needed: a command line is heard at once.
  from lalm.report import medians, tasks

  medians.publish(folder, tasks.tables)


EXPERIMENT = command.Experiment(
    name="linear_algebra",
    summary=__doc__.partition("\n")[0],
    config=_ROOT / "configs" / "linear_algebra.py",
    target="lalm.anatomy.timed_tasks:TARGET",
    catalogue="lalm.anatomy.timed_tasks",
    finish=finish,
    progress=progress.Line(),
    fields={"weights": schema.WEIGHTS},
    fixed=schema.WEIGHTS_ALONE,
)

if __name__ == "__main__":
  sys.exit(command.run(sys.argv, EXPERIMENT))
