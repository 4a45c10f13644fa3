"""The same attention by this library and by others: ratios of time.

  python3 -m experiments.peer_comparison [--config=FILE]
      [--config.FIELD=VALUE] [--out=DIR] [--worker=i/n] [--dry_run] [--help]

Mechanisms are the works, forms the libraries that can compute here (`lalm`,
`torch`, `jax.nn`, `cudnn`, `jla`, `fla`); `configs/gated_peers.py` has the
families with gates. A work of which only `lalm` is at hand is left out.
Writes DIR/<device>/: config.json, environment.json,
records.jsonl, table.md. With `--config.causal=False` and the same DIR the table
gains the full forms. With `--config.target=` it compares what the compilers of
machines not at hand say of one device: bytes, traffic and rooflines.
"""

import functools
import pathlib
import sys

from lalm.launch import command
from lalm.report import progress

_ROOT = pathlib.Path(__file__).resolve().parents[1]


def finish(folder: pathlib.Path) -> None:
  """Writes the table of a device's folder and prints it."""
  # Imported when they are needed: a command line is heard at once.
  from lalm.measure import libraries
  from lalm.report import medians, peer_programs, peers, results

  found = results.environment(folder)
  compiled = found.get("provenance") == "compiled"
  platform = found["device"] if compiled else None
  missing = {x: libraries.missing(x, platform) for x in libraries.works()}
  tables = (peer_programs if compiled else peers).tables
  medians.publish(folder, functools.partial(tables, missing=missing))


EXPERIMENT = command.Experiment(
    name="peer_comparison",
    summary=__doc__.partition("\n")[0],
    config=_ROOT / "configs" / "peer_comparison.py",
    target="lalm.measure.peers:TARGET",
    catalogue="lalm.measure.peers",
    finish=finish,
    progress=progress.Line(),
    compiled="lalm.measure.targets.alone",
    fewest=2,
)

if __name__ == "__main__":
  sys.exit(command.run(sys.argv, EXPERIMENT))
