"""`python3 -m lalm.report.readme [--check]`: the README's numbers again.

The text between

    <!-- results:NAME -->
    <!-- /results -->

is what `results/NAME` says: for each device in it the table of laws (from
records, fits and crossovers) and the figure; where there are no fits, the
table.md that the experiment wrote. Nothing there is typed in by hand.
"""

import argparse
import pathlib
import re
import sys
from typing import Sequence

from lalm import store
from lalm.report import results, tables

_BLOCK = re.compile(
    r"(?m)^<!-- results:(?P<name>\S+) -->\n(?P<body>.*?)^<!-- /results -->$",
    re.DOTALL,
)
# What an experiment may have drawn, and the words in its place.
_FIGURES = {
    "scaling": "Scaling laws measured",
    "blocks": "Ranks of blocks of attention's matrices, computed",
}
_MARK = re.compile(r"^<!-- /?results\b.*$", re.MULTILINE)


class Stale(ValueError):
  """A README whose blocks cannot be made; one line that says why."""


def regenerated(readme: str, root: pathlib.Path) -> str:
  """The README with every block made anew.

  Args:
    readme: its text.
    root: the folder of `results/`.

  Returns:
    The text; what is outside the blocks is untouched.

  Raises:
    Stale: a mark is not closed, or a block names no results.
  """
  blocks = _BLOCK.findall(readme)
  if len(_MARK.findall(readme)) != 2 * len(blocks):
    raise Stale("README.md: a block of results is not opened or not closed")
  return _BLOCK.sub(lambda block: _block(block["name"], root), readme)


def rendered(name: str, root: pathlib.Path) -> str:
  """What `results/name` says, as Markdown that links from `root`.

  Raises:
    Stale: there are no such results, or they are of a kind unknown here.
  """
  parts = pathlib.PurePosixPath(name).parts
  folder = root.joinpath("results", *parts)
  inside = bool(parts) and not {"..", "/"} & set(parts)
  devices = sorted(p.parent for p in folder.glob("*/table.md"))
  if not inside or not devices:
    raise Stale(f"README.md: block results:{name}: no tables in {folder}")
  return "\n".join(_device(device, root) for device in devices)


def main(arguments: Sequence[str] | None = None) -> int:
  """0 when up to date or rewritten, 1 when --check finds it stale, 2 if bad."""
  parser = argparse.ArgumentParser(
      prog="python3 -m lalm.report.readme",
      description="Regenerates the marked blocks of README.md from results/.",
  )
  parser.add_argument(
      "--check", action="store_true", help="write nothing; exit 1 when stale"
  )
  parser.add_argument(
      "root",
      nargs="?",
      type=pathlib.Path,
      default=pathlib.Path("."),
      help="the folder of README.md and results/",
  )
  chosen = parser.parse_args(arguments)
  path = chosen.root / "README.md"
  try:
    old = path.read_text(encoding="utf-8")
    new = regenerated(old, chosen.root)
    if new != old and not chosen.check:
      store.replace(path, new)
  except (OSError, ValueError) as error:
    print(error, file=sys.stderr)
    return 2
  if new == old:
    return 0
  if chosen.check:
    command = "python3 -m lalm.report.readme"
    print(f"{path} is stale: run {command}", file=sys.stderr)
    return 1
  print(f"{path} rewritten")
  return 0


def _block(name: str, root: pathlib.Path) -> str:
  body = rendered(name, root).strip("\n")
  return f"<!-- results:{name} -->\n\n{body}\n\n<!-- /results -->"


def _device(folder: pathlib.Path, root: pathlib.Path) -> str:
  if (folder / "fits.json").is_file():
    text = tables.markdown(results.load(folder))
  else:
    text = (folder / "table.md").read_text(encoding="utf-8")
  for name, words in _FIGURES.items():
    figure = folder / "figures" / f"{name}.svg"
    if figure.is_file():
      link = figure.relative_to(root).as_posix()
      text = f"![{words} on {folder.name}]({link})\n\n{text}"
  return text


if __name__ == "__main__":
  sys.exit(main())
