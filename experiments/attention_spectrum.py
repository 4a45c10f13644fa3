"""A model's attention maps: rank, tokens that become equal, stand-ins.

  python3 -m experiments.attention_spectrum [--config=FILE]
      [--config.weights=PATH] [--config.FIELD=VALUE] [--out=DIR]
      [--worker=i/n] [--dry_run] [--help]

Writes DIR/<device>/: config.json, environment.json, records.jsonl, table.md,
figures/maps.{svg,pdf,png}.
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
  from lalm.report import attention_maps

  attention_maps.publish(folder)


EXPERIMENT = command.Experiment(
    name="attention_spectrum",
    summary=__doc__.partition("\n")[0],
    config=_ROOT / "configs" / "attention_spectrum.py",
    target="lalm.anatomy.maps_of_text:TARGET",
    catalogue="lalm.anatomy.maps_of_text",
    finish=finish,
    progress=progress.Line(),
    fields={"weights": schema.WEIGHTS},
    fixed=schema.MODELS_OWN,
    corpora=("", "news"),
)

if __name__ == "__main__":
  sys.exit(command.run(sys.argv, EXPERIMENT))
