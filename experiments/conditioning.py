"""A model's products in 16 bits: which break, and whether it is foreseen.

  python3 -m experiments.conditioning [--config=FILE]
      [--config.weights=PATH] [--config.FIELD=VALUE] [--out=DIR]
      [--worker=i/n] [--dry_run] [--help]

Writes DIR/<device>/: config.json, environment.json, records.jsonl, table.md,
figures/precision.{svg,pdf,png}.
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
  from lalm.report import conditioning

  conditioning.publish(folder)


EXPERIMENT = command.Experiment(
    name="conditioning",
    summary=__doc__.partition("\n")[0],
    config=_ROOT / "configs" / "conditioning.py",
    target="lalm.anatomy.products_of_text:TARGET",
    catalogue="lalm.anatomy.products_of_text",
    finish=finish,
    progress=progress.Line(),
    fields={"weights": schema.WEIGHTS},
    fixed=schema.MODELS_OWN,
    corpora=("", "news"),
)

if __name__ == "__main__":
  sys.exit(command.run(sys.argv, EXPERIMENT))
