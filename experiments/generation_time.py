"""A whole sequence token by token: without a cache, with one, with a state.

  python3 -m experiments.generation_time [--config=FILE] [--config.FIELD=VALUE]
      [--out=DIR] [--worker=i/n] [--dry_run] [--help]

Table 5 of Katharopoulos et al. (2020): images of 784 tokens by 8 layers, and
(`configs/generation_time_cifar.py`, same DIR) of 3,072 tokens by 16. Writes
DIR/<device>/: config.json, environment.json, records.jsonl, table.md.
"""

import pathlib
import sys

from lalm.launch import command
from lalm.launch import schema
from lalm.report import progress

_ROOT = pathlib.Path(__file__).resolve().parents[1]


def finish(folder: pathlib.Path) -> None:
  """Writes the table of a device's folder and prints it."""
  # Imported when they are needed: a command line is heard at once.
  from lalm.report import generation, medians

  medians.publish(folder, generation.tables)


EXPERIMENT = command.Experiment(
    name="generation_time",
    summary=__doc__.partition("\n")[0],
    config=_ROOT / "configs" / "generation_time.py",
    target="lalm.measure.generation:TARGET",
    catalogue="lalm.measure.generation",
    finish=finish,
    progress=progress.Line(),
    fields={
        "layers": schema.Field(
            schema.whole(1, 96), 8, "layers of the model", "layers"
        )
    },
    fixed={"causal": True, "passes": ("forward",)},
)

if __name__ == "__main__":
  sys.exit(command.run(sys.argv, EXPERIMENT))
