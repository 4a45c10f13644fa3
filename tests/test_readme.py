"""What the README shows runs as it is shown."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from lalm.report import readme

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(
    r"(?:<!-- example: (\S+) -->\n)?```python\n(.*?)```", README, re.DOTALL
)


def _environment(folder):
  path = os.pathsep.join([str(folder), str(ROOT)])
  return {**os.environ, "PYTHONPATH": path}


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_an_example_runs(number):
  name, code = BLOCKS[number]
  space = {"__name__": name.removesuffix(".py") or "example"}
  exec(compile(code, f"README.md, example {number}", "exec"), space)
  assert len(space) > 2


@pytest.fixture(name="folder")
def _folder(tmp_path):
  examples = {name: code for name, code in BLOCKS if name}
  assert examples, "the README has no example with a file's name"
  for name, code in examples.items():
    assert len(code.strip().splitlines()) <= 15
    (tmp_path / name).write_text(code)
  return tmp_path


def test_a_mechanism_of_ones_own_goes_from_gate_to_figure(folder):
  command = (
      "-m experiments.attention_scaling --config.mechanisms=mean:MEAN"
      " --config.lengths=32,64,128 --config.replicates=1"
      " --config.point_budget=0.02 --config.passes=forward --config.heads=1"
      " --config.width=8 --config.value_width=8"
  )
  done = subprocess.run(
      [sys.executable, *command.split(), f"--out={folder / 'out'}"],
      cwd=ROOT,
      env=_environment(folder),
      capture_output=True,
      text=True,
  )
  assert done.returncode == 0, done.stderr
  (device,) = (folder / "out").iterdir()
  fits = json.loads((device / "fits.json").read_text())
  assert {fit["quantity"] for fit in fits} >= {"time", "memory", "compile"}
  assert {fit["mechanism"] for fit in fits} == {"mean:MEAN"}
  lines = (device / "records.jsonl").read_text().splitlines()
  records = [json.loads(line) for line in lines]
  assert len(records) == 3
  assert all(record["status"] == "ok" for record in records)
  assert any(record.get("error") for record in records)
  assert (device / "figures" / "scaling.pdf").stat().st_size > 1000


@pytest.mark.slow
def test_a_mechanism_of_ones_own_passes_the_conformance_tests(folder):
  command = (
      "-m pytest tests/attention --mechanism=mean:MEAN -k mean:MEAN -q -n 0"
      " -p no:cacheprovider"
  )
  done = subprocess.run(
      [sys.executable, *command.split()],
      cwd=ROOT,
      env=_environment(folder),
      capture_output=True,
      text=True,
  )
  assert done.returncode == 0, done.stdout[-3000:]
  assert re.search(r"\d+ passed", done.stdout)


def test_every_command_of_the_readme_names_something_that_exists():
  for module in re.findall(r"python3 -m ((?:experiments|lalm)[\w.]*)", README):
    path = ROOT / module.replace(".", "/")
    assert path.is_dir() or path.with_suffix(".py").exists(), module
  for config in re.findall(r"--config=(configs/\S+\.py)", README):
    assert (ROOT / config).exists(), config


def test_its_numbers_are_those_of_the_committed_results():
  assert readme.main(["--check", str(ROOT)]) == 0
