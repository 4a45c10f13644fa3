"""`python -m experiments` lists what can be run, without JAX."""

import ast
import pathlib
import subprocess
import sys

import pytest

from experiments import __main__ as listing

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_every_experiment_is_listed_with_the_first_line_of_its_docstring():
  answer = subprocess.run(
      [sys.executable, "-m", "experiments"],
      cwd=_ROOT,
      capture_output=True,
      text=True,
      check=True,
  )
  lines = dict(line.split(None, 1) for line in answer.stdout.splitlines())
  files = {
      path.stem: path
      for path in (_ROOT / "experiments").glob("*.py")
      if not path.stem.startswith("_")
  }
  assert set(lines) == set(files) and "attention_scaling" in lines
  for name, path in files.items():
    first = ast.get_docstring(ast.parse(path.read_text())).splitlines()[0]
    assert lines[name] == first and first.endswith(".")


def test_the_list_is_made_without_jax():
  text = (
      "import sys; from experiments import __main__ as m; m.main([]);"
      " sys.exit('jax' in sys.modules)"
  )
  done = subprocess.run(
      [sys.executable, "-c", text], cwd=_ROOT, capture_output=True, check=False
  )
  assert done.returncode == 0


def test_an_argument_is_refused_in_one_line(capsys):
  assert listing.main(["attention_scaling"]) == 2
  errors = capsys.readouterr().err
  assert errors.count("\n") == 1 and "'attention_scaling'" in errors


def test_every_experiment_has_a_config_of_its_name():
  for path in (_ROOT / "experiments").glob("[!_]*.py"):
    assert (_ROOT / "configs" / path.name).is_file()


@pytest.mark.parametrize(
    "name",
    sorted(p.stem for p in (_ROOT / "experiments").glob("[!_]*.py")),
)
def test_an_experiment_starts_with_no_heavy_import(name):
  # Until its command runs, an interruption would be a traceback.
  code = f"import experiments.{name}, sys; print(*sys.modules)"
  done = subprocess.run(
      [sys.executable, "-c", code],
      cwd=_ROOT,
      capture_output=True,
      text=True,
      check=True,
  )
  assert not {"jax", "numpy", "scipy"} & set(done.stdout.split())
