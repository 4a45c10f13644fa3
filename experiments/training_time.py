"""What a whole training step takes, mixer by mixer, and by hand beside it.

  python3 -m experiments.training_time [--config=FILE] [--config.FIELD=VALUE]
      [--out=DIR] [--worker=i/n] [--dry_run] [--help]

Forms are ways to write the model: `lalm`, `plain` JAX by hand, and `torch` with
its fused attention where it is installed. Writes DIR/<device>/: config.json,
environment.json, records.jsonl, fits.json, crossovers.json,
table.{md,csv,tex}, ratios.md and figures/.
"""

import pathlib
import sys

from lalm.launch import command
from lalm.launch import schema
from lalm.report import progress

_ROOT = pathlib.Path(__file__).resolve().parents[1]

FIELDS = {
    "layers": schema.Field(
        schema.whole(1, 96), 4, "layers of the model", "layers"
    ),
    "vocabulary": schema.Field(
        schema.whole(2, 2**20), 1024, "tokens", "vocabulary"
    ),
}


def finish(folder: pathlib.Path) -> None:
  """Writes laws, tables and figures of a device's folder; prints them."""
  # Imported when they are needed: a command line is heard at once.
  from lalm.report import step_time

  step_time.publish(folder)


EXPERIMENT = command.Experiment(
    name="training_time",
    summary=__doc__.partition("\n")[0],
    config=_ROOT / "configs" / "training_time.py",
    target="lalm.training.step_time:TARGET",
    catalogue="lalm.training.step_time",
    finish=finish,
    progress=progress.Line(),
    fields=FIELDS,
    fixed={
        "causal": True,
        "passes": ("forward_backward",),
        "chunk": None,  # the form's own
        "corpus": "",  # no text is read
    },
)

if __name__ == "__main__":
  sys.exit(command.run(sys.argv, EXPERIMENT))
