"""Options of the whole suite."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
  """Adds `--mechanism`, which may be given several times."""
  parser.addoption(
      "--mechanism",
      action="append",
      default=[],
      metavar="PACKAGE.MODULE:NAME",
      help=(
          "put a mechanism of your own through the conformance suite; it is "
          "compared with its own definition in float64"
      ),
  )
