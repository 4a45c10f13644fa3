"""`python3 -m lalm.report FOLDER`: laws, tables and figures once more."""

import argparse
import pathlib
import sys
from typing import Sequence

from lalm import store
from lalm.report import build, results, tables


def main(arguments: Sequence[str] | None = None) -> int:
  """0 when all was written, 1 when only the tables were, 2 for a bad folder."""
  parser = argparse.ArgumentParser(
      prog="python3 -m lalm.report",
      description="Rebuilds laws, tables and figures of a results folder.",
  )
  parser.add_argument(
      "folder",
      type=pathlib.Path,
      help="DIR/<device> of a run, or DIR for every device in it",
  )
  folder = parser.parse_args(arguments).folder
  try:
    built = [build.rebuild(device) for device in _devices(folder)]
  except (results.Missing, store.StoreError) as error:
    print(error, file=sys.stderr)
    return 2
  for one in built:
    print(tables.text(one.results))
    print("\n".join(map(str, one.paths)))
  problems = [one.problem for one in built if one.problem]
  if problems:
    print(problems[0], file=sys.stderr)
  return 1 if problems else 0


def _devices(folder: pathlib.Path) -> list[pathlib.Path]:
  """The folder itself, or the folders in it that hold records."""
  if (folder / "records.jsonl").is_file():
    return [folder]
  within = sorted(path.parent for path in folder.glob("*/records.jsonl"))
  return within or [folder]


if __name__ == "__main__":
  sys.exit(main())
