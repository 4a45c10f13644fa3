"""How time and memory of attention grow with the sequence length, as laws.

  python3 -m experiments.attention_scaling [--config=FILE]
      [--config.FIELD=VALUE] [--out=DIR] [--worker=i/n] [--dry_run] [--help]

Writes DIR/<device>/: config.json, environment.json, records.jsonl, fits.json,
crossovers.json, table.{md,csv,tex} and figures/. What is recorded is not
measured again.
"""

import pathlib
import sys

from lalm.launch import command
from lalm.report import progress

_ROOT = pathlib.Path(__file__).resolve().parents[1]


def finish(folder: pathlib.Path) -> None:
  """Writes laws, tables and figures of a device's folder; prints the laws."""
  # Imported when they are needed: a refused command line answers at once.
  from lalm.report import build, tables

  built = build.rebuild(folder)
  print(tables.text(built.results))
  print(built.problem or f"figure: {folder / 'figures' / 'scaling.svg'}")


EXPERIMENT = command.Experiment(
    name="attention_scaling",
    summary=__doc__.partition("\n")[0],
    config=_ROOT / "configs" / "attention_scaling.py",
    target="lalm.measure.kernel:TARGET",
    catalogue="lalm.attention.catalogue",
    finish=finish,
    progress=progress.Line(),
    compiled="lalm.measure.targets.absent",
)

if __name__ == "__main__":
  sys.exit(command.run(sys.argv, EXPERIMENT))
