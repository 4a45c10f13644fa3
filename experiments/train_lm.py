"""Language models of a text, mixer by mixer, with equal parameters.

  python3 -m experiments.train_lm [--config=FILE] [--config.FIELD=VALUE]
      [--out=DIR] [--worker=i/n] [--dry_run] [--help]

A replicate is a seed. Two processes, each on a core of its own, are faster than
one on both: --worker=0/2 and --worker=1/2 under `taskset -c` (a machine of one
core, with a folder of its own). What is stopped goes on from its last
checkpoint. The corpus may be wordnet, where its package is. Writes
DIR/<device>/: config.json, environment.json, records.jsonl, table.md,
models/*.safetensors, figures/learning.{svg,pdf,png}.
"""

import pathlib
import sys

from lalm.launch import command
from lalm.launch import schema
from lalm.report import progress

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_RATE = schema.positive("a number")

FIELDS = {
    "layers": schema.Field(
        schema.whole(1, 96), 4, "layers of the model", "layers"
    ),
    "steps": schema.Field(schema.whole(2), 900, "steps of a run", "steps"),
    "rounds": schema.Field(
        schema.whole(1), 15, "times a run is judged and kept", "rounds"
    ),
    "rate": schema.Field(
        schema.several(_RATE), (3e-3,), "greatest learning rates", "rate"
    ),
    "vocabulary": schema.Field(
        schema.whole(256, 2**20), 1024, "tokens; 256: bytes", "vocabulary"
    ),
}


def finish(folder: pathlib.Path) -> None:
  """Writes the table and the figure of a device's folder."""
  # Imported when they are needed: a command line is heard at once.
  from lalm.report import learning

  learning.publish(folder)


EXPERIMENT = command.Experiment(
    name="train_lm",
    summary=__doc__.partition("\n")[0],
    config=_ROOT / "configs" / "train_lm.py",
    target="lalm.training.language:TARGET",
    catalogue="lalm.training.mixers",
    finish=finish,
    progress=progress.Line(),
    fields=FIELDS,
    fixed={
        "causal": True,
        "passes": ("forward_backward",),
        "chunk": None,  # the form's own
    },
    corpora=("", "news", "wordnet"),
)

if __name__ == "__main__":
  sys.exit(command.run(sys.argv, EXPERIMENT))
