"""One token more: a scan of steps beside scaling its state.

  python3 -m experiments.step_floor [--config=FILE] [--config.FIELD=VALUE]
      [--out=DIR] [--worker=i/n] [--dry_run] [--help]

`length` is how many steps are scanned. Writes DIR/<device>/: config.json,
environment.json, records.jsonl, table.md.
"""

import pathlib
import sys

from lalm.launch import command
from lalm.report import progress

_ROOT = pathlib.Path(__file__).resolve().parents[1]


def finish(folder: pathlib.Path) -> None:
  """Writes the table of a device's folder and prints it."""
  # Imported when they are needed: a command line is heard at once.
  from lalm.report import medians, steps

  medians.publish(folder, steps.tables)


EXPERIMENT = command.Experiment(
    name="step_floor",
    summary=__doc__.partition("\n")[0],
    config=_ROOT / "configs" / "step_floor.py",
    target="lalm.measure.steps:TARGET",
    catalogue="lalm.measure.steps",
    finish=finish,
    progress=progress.Line(),
    fixed={"causal": True, "passes": ("forward",)},
)

if __name__ == "__main__":
  sys.exit(command.run(sys.argv, EXPERIMENT))
