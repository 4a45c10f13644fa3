"""Whether every form is right on this machine: its values, its gradients.

  python3 -m experiments.correctness [--config=FILE]
      [--config.FIELD=VALUE] [--out=DIR] [--worker=i/n] [--dry_run] [--help]

Each form is compared with its mechanism's definition in float64. Writes
DIR/<device>/: config.json, environment.json, records.jsonl and table.md.
"""

import pathlib
import sys

from lalm.launch import command
from lalm.report import progress

_ROOT = pathlib.Path(__file__).resolve().parents[1]


def finish(folder: pathlib.Path) -> None:
  """Writes and prints the table of a device's folder."""
  # Imported when they are needed: a refused command line answers at once.
  from lalm.report import medians, verdicts

  medians.publish(folder, verdicts.tables)


EXPERIMENT = command.Experiment(
    name="correctness",
    summary=__doc__.partition("\n")[0],
    config=_ROOT / "configs" / "correctness.py",
    target="lalm.measure.gate:TARGET",
    catalogue="lalm.measure.gate",
    finish=finish,
    progress=progress.Line(),
)

if __name__ == "__main__":
  sys.exit(command.run(sys.argv, EXPERIMENT))
