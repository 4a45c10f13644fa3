"""Imports point down only: each room of the house knows those below it."""

import ast
import pathlib

import pytest

_ROOT = pathlib.Path(__file__).resolve().parents[1]

# What each room may import of the others; a room stands below those it serves.
_ROOMS = {
    "store": (),
    "shapes": (),
    "units": (),
    "roles": (),
    "packages": (),
    "data": ("packages",),
    "scaling": (),
    "attention": ("shapes",),
    "linear_operators": ("attention",),
    "spectral": ("attention", "linear_operators"),
    "sharding": ("attention",),
    "measure": (
        "store",
        "units",
        "attention",
        "data",
        "spectral",
        "sharding",
    ),
    "models": ("store", "shapes", "roles", "packages", "attention"),
    "training": (
        "store",
        "units",
        "attention",
        "data",
        "models",
        "measure",
    ),
    "anatomy": (
        "roles",
        "attention",
        "data",
        "linear_operators",
        "spectral",
        "models",
        "measure",
    ),
    "report": ("store", "units", "roles", "scaling"),
    "launch": ("store", "units", "measure.worker", "measure.targets.hardware"),
}
_WITHOUT_JAX = ("store", "units", "roles", "scaling", "report", "launch")
_JAX = {"jax", "jaxlib", "flax", "optax", "chex"}


def _imports(path):
  """Full names of the modules that a file imports, anywhere in it."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{path}: a relative import"
      for alias in node.names:
        yield f"{node.module}.{alias.name}"


def _files(room):
  folder = _ROOT / "lalm" / room
  return sorted(folder.rglob("*.py")) or [folder.with_suffix(".py")]


def test_every_room_has_its_place():
  house = _ROOT / "lalm"
  found = {p.parent.name for p in house.glob("*/*.py")}
  found |= {p.stem for p in house.glob("*.py")} - {"__init__"}
  assert found == set(_ROOMS)


@pytest.mark.parametrize("room", _ROOMS)
def test_imports_point_down(room):
  allowed = tuple(f"lalm.{name}." for name in (room, *_ROOMS[room]))
  for path in _files(room):
    for name in _imports(path):
      assert not name.startswith(("experiments", "tests")), (path, name)
      if name.startswith("lalm."):
        assert f"{name}.".startswith(allowed), (path, name)


def test_no_room_stands_on_one_that_stands_on_it():
  below = []
  for room, used in _ROOMS.items():
    assert {name.partition(".")[0] for name in used} <= set(below), room
    below.append(room)


@pytest.mark.parametrize("room", _WITHOUT_JAX)
def test_who_reads_results_or_starts_processes_imports_no_jax(room):
  for path in _files(room):
    for name in _imports(path):
      assert name.partition(".")[0] not in _JAX, (path, name)
