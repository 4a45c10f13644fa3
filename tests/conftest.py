"""Options of the whole suite, and what every test leaves behind."""

from collections.abc import Iterator
import itertools
import pathlib

import jax
import pytest

_MAPS = pathlib.Path("/proc/self/maps")
_MOST = 30_000  # of the 65,530 memory maps that Linux gives a process
_TESTS, _EVERY = itertools.count(), 32  # counting maps takes 20 ms

# Before any test uses JAX, for those that split a sequence.
jax.config.update("jax_num_cpu_devices", 8)


@pytest.fixture(autouse=True)
def _room_for_programs() -> Iterator[None]:
  """Forgets compiled programs before there is no room for another.

  XLA's CPU programs are memory maps, and with too many it ends the process.
  """
  yield
  if next(_TESTS) % _EVERY or not _MAPS.exists():
    return
  if _MAPS.read_bytes().count(b"\n") > _MOST:
    jax.clear_caches()


@pytest.fixture(scope="module")
def quickly_compiled(request: pytest.FixtureRequest) -> Iterator[None]:
  """In the quick suite, compiles in little time what then takes more of it.

  Slow proofs, among which are the same functions' other cases, are of programs
  as users have them.
  """
  if "not slow" not in request.config.option.markexpr:
    yield
    return
  jax.config.update("jax_disable_most_optimizations", True)
  yield
  jax.config.update("jax_disable_most_optimizations", False)
  jax.clear_caches()  # no other module runs what was compiled so


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
