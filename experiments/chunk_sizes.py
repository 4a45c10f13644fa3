"""Which chunks and tiles are fastest, by platform, dtype and width.

  python3 -m experiments.chunk_sizes [--config=FILE]
      [--config.FIELD=VALUE] [--out=DIR] [--worker=i/n] [--dry_run] [--help]

Measured here, or compiled for `--config.target`. Writes DIR/<device>/:
config.json, environment.json, records.jsonl and table.md;
`python3 -m lalm.report.tuning DIR/<device>` then makes the fastest ones those
that forms take when none are asked for.
"""

import pathlib
import sys

from lalm.launch import command
from lalm.launch import schema
from lalm.report import progress

_ROOT = pathlib.Path(__file__).resolve().parents[1]


def finish(folder: pathlib.Path) -> None:
  """Writes and prints the table of a device's folder."""
  # Imported when they are needed: a refused command line answers at once.
  from lalm.report import medians, tuning

  medians.publish(folder, tuning.tables)


EXPERIMENT = command.Experiment(
    name="chunk_sizes",
    summary=__doc__.partition("\n")[0],
    config=_ROOT / "configs" / "chunk_sizes.py",
    target="lalm.measure.kernel:TARGET",
    catalogue="lalm.attention.catalogue",
    finish=finish,
    progress=progress.Line(),
    fields={
        "chunk": schema.Field(
            schema.several(schema.whole(1)),
            (32, 64, 128, 256, 512, 1024),
            "tokens in a chunk or block",
            "chunk",
        ),
    },
    compiled="lalm.measure.targets.absent",
)

if __name__ == "__main__":
  sys.exit(command.run(sys.argv, EXPERIMENT))
