"""Figure 2 of Katharopoulos et al. 2020: learning to copy, mixer by mixer.

  python3 -m experiments.copy_task [--config=FILE] [--config.FIELD=VALUE]
      [--out=DIR] [--worker=i/n] [--dry_run] [--help]

A replicate is a seed. Two processes, each on a core of its own, are faster than
one on both: --worker=0/2 and --worker=1/2 under `taskset -c` (a machine of one
core, with a folder of its own). What is stopped goes on from its last
checkpoint. Writes DIR/<device>/: config.json, environment.json, records.jsonl,
table.md, figures/learning.{svg,pdf,png}.
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
        schema.whole(1, 96), 2, "layers of the model", "layers"
    ),
    "steps": schema.Field(schema.whole(2), 5000, "steps of a run", "steps"),
    "rounds": schema.Field(
        schema.whole(1), 25, "times a run is judged and kept", "rounds"
    ),
    "rate": schema.Field(
        schema.several(_RATE), (1e-3,), "greatest learning rates", "rate"
    ),
    "drop": schema.Field(
        schema.whole(1), 3000, "step at which it falls to a tenth", "drop"
    ),
}


def finish(folder: pathlib.Path) -> None:
  """Writes the table and the figure of a device's folder."""
  # Imported when they are needed: a command line is heard at once.
  from lalm.report import learning

  learning.publish(folder)


EXPERIMENT = command.Experiment(
    name="copy_task",
    summary=__doc__.partition("\n")[0],
    config=_ROOT / "configs" / "copy_task.py",
    target="lalm.training.copying:TARGET",
    catalogue="lalm.training.mixers",
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
