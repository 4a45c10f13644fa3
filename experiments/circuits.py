"""A model's heads by their weights: who copies, repels, composes.

  python3 -m experiments.circuits [--config=FILE]
      [--config.weights=PATH] [--config.FIELD=VALUE] [--out=DIR]
      [--worker=i/n] [--dry_run] [--help]

Writes DIR/<device>/: config.json, environment.json, records.jsonl, table.md,
figures/circuits.{svg,pdf,png}.
"""

import pathlib
import sys

from lalm.launch import command
from lalm.launch import schema
from lalm.report import progress

_ROOT = pathlib.Path(__file__).resolve().parents[1]


def finish(folder: pathlib.Path) -> None:
  """Writes tables and figures of a device's folder."""
  # Imported when they are needed: a command line is heard at once.
  from lalm.report import head_circuits

  head_circuits.publish(folder)


EXPERIMENT = command.Experiment(
    name="circuits",
    summary=__doc__.partition("\n")[0],
    config=_ROOT / "configs" / "circuits.py",
    target="lalm.anatomy.circuit:TARGET",
    catalogue="lalm.anatomy.circuit",
    finish=finish,
    progress=progress.Line(),
    fields={"weights": schema.WEIGHTS},
    fixed=schema.WEIGHTS_ALONE,
)

if __name__ == "__main__":
  sys.exit(command.run(sys.argv, EXPERIMENT))
