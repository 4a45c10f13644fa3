"""What each mechanism's matrix is made of: ranks of its off-diagonal blocks.

  python3 -m experiments.block_structure [--config=FILE]
      [--config.FIELD=VALUE] [--out=DIR] [--worker=i/n] [--dry_run] [--help]

Writes DIR/<device>/: config.json, environment.json, records.jsonl, table.md,
figures/blocks.svg, .pdf, .png. What cannot be causal joins them with
`--config.causal=False` and the same DIR.
"""

import pathlib
import sys

from lalm.launch import command
from lalm.launch import schema
from lalm.report import progress

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_FIELDS = {
    "lengths": schema.FIELDS["lengths"]._replace(
        kind=schema.several(schema.whole(2)), default=(64, 128, 256, 512, 1024)
    ),
    "window": schema.Field(
        schema.whole(1), 64, "tokens that a query sees in a window", "window"
    ),
    "horizon": schema.Field(
        schema.whole(1),
        64,
        "tokens: drawn log-decays are divided by so many",
        "horizon",
    ),
}


def finish(folder: pathlib.Path) -> None:
  """Writes table and figure of a device's folder and prints the table."""
  # Imported when it is needed: a command line is heard at once.
  from lalm.report import blocks, build

  build.publish(folder, blocks.tables, "blocks", "blocks_figure")


EXPERIMENT = command.Experiment(
    name="block_structure",
    summary=__doc__.partition("\n")[0],
    config=_ROOT / "configs" / "block_structure.py",
    target="lalm.measure.blocks:TARGET",
    catalogue="lalm.measure.blocks",
    finish=finish,
    progress=progress.Line(),
    fields=_FIELDS,
    fixed={"passes": ("forward",), "dtype": ("float64",)},
)

if __name__ == "__main__":
  sys.exit(command.run(sys.argv, EXPERIMENT))
