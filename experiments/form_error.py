"""Distance of every form to its definition in float64, as sequences grow.

  python3 -m experiments.form_error [--config=FILE]
      [--config.FIELD=VALUE] [--out=DIR] [--worker=i/n] [--dry_run] [--help]

Writes DIR/<device>/: config.json, environment.json, records.jsonl, table.md and
figures/. With `--config.causal=False` and the same DIR both gain the mechanisms
that cannot be causal, and the full forms of the others.
"""

import pathlib
import sys

from lalm.launch import command
from lalm.report import progress

_ROOT = pathlib.Path(__file__).resolve().parents[1]


def finish(folder: pathlib.Path) -> None:
  """Writes the table and the figure of a device's folder."""
  # Imported when they are needed: a command line is heard at once.
  from lalm.report import build, roundings

  build.publish(folder, roundings.tables, "errors", "roundings_figure")


EXPERIMENT = command.Experiment(
    name="form_error",
    summary=__doc__.partition("\n")[0],
    config=_ROOT / "configs" / "form_error.py",
    target="lalm.measure.rounding:TARGET",
    catalogue="lalm.measure.rounding",
    finish=finish,
    progress=progress.Line(),
    fixed={"passes": ("forward",)},
)

if __name__ == "__main__":
  sys.exit(command.run(sys.argv, EXPERIMENT))
