"""Lists all experiments, a line each: `python3 -m experiments`."""

import ast
import pathlib
import sys
from typing import Sequence


def summary(path: pathlib.Path) -> str:
  """The first line of a module's docstring; the module is not imported."""
  text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
  return text.partition("\n")[0]


def main(arguments: Sequence[str]) -> int:
  """Prints the list; returns the exit status (2: an argument was given)."""
  if arguments:
    print(
        f"experiments: expected no argument, got {arguments[0]!r}; to run one:"
        " python3 -m experiments.NAME",
        file=sys.stderr,
    )
    return 2
  folder = pathlib.Path(__file__).parent
  found = sorted(p for p in folder.glob("*.py") if p.stem[0] != "_")
  width = max((len(path.stem) for path in found), default=0)
  for path in found:
    print(f"{path.stem:{width}}  {summary(path)}")
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
