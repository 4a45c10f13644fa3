"""A model's matrices: norms, ranks, condition, power laws, beside noise.

  python3 -m experiments.weight_spectrum [--config=FILE]
      [--config.weights=PATH] [--config.FIELD=VALUE] [--out=DIR]
      [--worker=i/n] [--dry_run] [--help]

Writes DIR/<device>/: config.json, environment.json, records.jsonl, table.md,
table.csv (a line a matrix), figures/spectra.{svg,pdf,png}.
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
  from lalm.report import spectra

  spectra.publish(folder)


EXPERIMENT = command.Experiment(
    name="weight_spectrum",
    summary=__doc__.partition("\n")[0],
    config=_ROOT / "configs" / "weight_spectrum.py",
    target="lalm.anatomy.spectrum:TARGET",
    catalogue="lalm.anatomy.spectrum",
    finish=finish,
    progress=progress.Line(),
    fields={"weights": schema.WEIGHTS},
    fixed=schema.WEIGHTS_ALONE,
)

if __name__ == "__main__":
  sys.exit(command.run(sys.argv, EXPERIMENT))
