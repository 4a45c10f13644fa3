"""What one token more costs at a context of n, and what leads there.

  python3 -m experiments.decode_latency [--config=FILE] [--config.FIELD=VALUE]
      [--out=DIR] [--worker=i/n] [--dry_run] [--help]

`length` is the context; `configs/decode_throughput.py` has many batches at one
context, for the same DIR. Writes DIR/<device>/: config.json, environment.json,
records.jsonl and figures/; of several contexts fits.json, crossovers.json and
table.{md,csv,tex}; of several batches throughput.md.
"""

import pathlib
import sys

from lalm.launch import command
from lalm.launch import schema
from lalm.report import progress

_ROOT = pathlib.Path(__file__).resolve().parents[1]


def finish(folder: pathlib.Path) -> None:
  """Writes laws, tables and figures of a device's folder; prints the laws."""
  # Imported when they are needed: a refused command line answers at once.
  from lalm.report import build, results, tables, throughput

  found = throughput.publish(folder)
  each = [(setting,) for setting in found]
  problem = build.draw(folder, "throughput", "throughput_figure", each)[1]
  groups = results.load(folder).groups
  if not found or any(len(group.lengths()) > 1 for group in groups):
    print(tables.text(build.rebuild(folder).results))
  print(problem or f"figures: {folder / 'figures'}")


EXPERIMENT = command.Experiment(
    name="decode_latency",
    summary=__doc__.partition("\n")[0],
    config=_ROOT / "configs" / "decode_latency.py",
    target="lalm.measure.decoding:TARGET",
    catalogue="lalm.measure.decoding",
    finish=finish,
    progress=progress.Line(),
    fields={
        "passes": schema.Field(
            schema.several(schema.choice("step", "prefill")),
            ("step", "prefill"),
            "what is timed: a token more, or all those before",
            "pass",
        ),
        "tokens": schema.Field(
            schema.whole(1), 16, "steps in a compiled scan", "tokens"
        ),
    },
    fixed={"causal": True},
    compiled="lalm.measure.targets.alone",
)

if __name__ == "__main__":
  sys.exit(command.run(sys.argv, EXPERIMENT))
