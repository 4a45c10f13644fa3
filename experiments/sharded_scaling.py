"""Bytes of a device and between devices, as laws in tokens and devices.

  python3 -m experiments.sharded_scaling [--config=FILE]
      [--config.FIELD=VALUE] [--out=DIR] [--worker=i/n] [--dry_run] [--help]

Sequences are split over the devices of each target, for which they are
compiled; nothing is run. Writes DIR/<target>/: config.json, environment.json,
records.jsonl; and of all targets DIR/table.md and DIR/figures/.
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
  from lalm.report import sharded

  sharded.publish(folder.parent)


EXPERIMENT = command.Experiment(
    name="sharded_scaling",
    summary=__doc__.partition("\n")[0],
    config=_ROOT / "configs" / "sharded_scaling.py",
    target="lalm.measure.kernel:TARGET",
    catalogue="lalm.attention.catalogue",
    finish=finish,
    progress=progress.Line(),
    fields={"target": schema.ABSENT},
    compiled="lalm.measure.targets.absent",
)

if __name__ == "__main__":
  sys.exit(command.run(sys.argv, EXPERIMENT))
