"""A results folder is built again by one command, whatever it lacks."""

import pathlib
import subprocess
import sys

import pytest

from lalm.report import __main__ as command
from lalm.report import build
from tests.oracles import synthetic

ROOT = pathlib.Path(__file__).parents[2]
WRITTEN = (
    "figures/scaling.pdf",
    "figures/scaling.png",
    "figures/scaling.svg",
    "table.csv",
    "table.md",
    "table.tex",
)


def small(folder: pathlib.Path, **changes) -> pathlib.Path:
  """A folder with two short curves."""
  kernels = [("softmax", "blockwise"), ("linear", "chunkwise")]
  records = synthetic.sweep(kernels, ("forward",), (256, 512), 2)
  return synthetic.write(folder, [record | changes for record in records])


def python(*arguments: str) -> subprocess.CompletedProcess:
  """Runs Python here and keeps what it says."""
  return subprocess.run(
      [sys.executable, *arguments],
      cwd=ROOT,
      capture_output=True,
      text=True,
      timeout=120,
  )


def test_build_writes_tables_and_figures_and_names_them(tmp_path):
  folder = small(tmp_path / "cpu")
  built = build.build(folder)
  names = sorted(path.relative_to(folder).as_posix() for path in built.paths)
  assert tuple(names) == WRITTEN
  assert all(path.stat().st_size > 0 for path in built.paths)
  assert not built.problem


def test_an_older_machine_gets_a_figure_of_its_own(tmp_path):
  folder = small(tmp_path / "cpu")
  small(folder, machine="ffffffffffff", started="2025-01-01T00:00:00Z")
  names = {path.name for path in build.build(folder).paths}
  assert {"scaling.svg", "scaling_2.svg"} <= names


@pytest.mark.parametrize("content", [b"", b"not json\n", b"\x00\xff\n{}\n"])
def test_a_folder_without_a_whole_record_gets_tables_that_say_so(
    tmp_path, content
):
  (tmp_path / "records.jsonl").write_bytes(content)
  built = build.build(tmp_path)
  assert {path.name for path in built.paths} == {
      "table.md",
      "table.csv",
      "table.tex",
  }
  assert "no records" in (tmp_path / "table.md").read_text()


def test_the_command_builds_each_device_of_an_experiment(tmp_path, capsys):
  for device in ("cpu-one", "cpu-two"):
    small(tmp_path / device)
  assert command.main([str(tmp_path)]) == 0
  said = capsys.readouterr().out
  for device in ("cpu-one", "cpu-two"):
    assert str(tmp_path / device / "figures" / "scaling.svg") in said
  assert "softmax.blockwise" in said


@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_a_bad_folder_is_one_line_and_status_two(tmp_path, kind, capsys):
  folder = tmp_path / "folder"
  if kind == "empty":
    folder.mkdir()
  elif kind == "file":
    folder.write_text("")
  assert command.main([str(folder)]) == 2
  said = capsys.readouterr()
  assert said.out == "" and len(said.err.splitlines()) == 1
  assert str(folder) in said.err


def test_results_without_laws_keep_the_table_their_experiment_wrote(
    tmp_path, capsys
):
  folder = small(tmp_path / "cpu")
  (folder / "config.json").write_text('{"experiment": "peer_comparison"}')
  (folder / "table.md").write_text("ratios")
  assert command.main([str(folder)]) == 2
  said = capsys.readouterr().err
  assert len(said.splitlines()) == 1 and "peer_comparison" in said
  assert (folder / "table.md").read_text() == "ratios"


def test_laws_are_derived_again(tmp_path):
  folder = small(tmp_path / "cpu")
  (folder / "fits.json").unlink(missing_ok=True)
  (folder / "crossovers.json").write_text("[]")
  assert command.main([str(folder)]) == 0
  assert "softmax" in (folder / "fits.json").read_text()
  assert "linear.chunkwise" in (folder / "crossovers.json").read_text()


def test_without_matplotlib_tables_are_written_and_the_extra_is_named(tmp_path):
  folder = small(tmp_path / "cpu")
  done = python(
      "-c",
      "import sys; sys.modules['matplotlib'] = None\n"
      "from lalm.report import __main__ as command\n"
      f"sys.exit(command.main([{str(folder)!r}]))",
  )
  assert done.returncode == 1
  assert len(done.stderr.splitlines()) == 1 and "lalm[report]" in done.stderr
  assert (folder / "table.tex").is_file()
  assert not (folder / "figures").exists()


def test_the_report_loads_neither_jax_nor_matplotlib_before_it_draws():
  done = python(
      "-c",
      "import sys, pkgutil, importlib, lalm.report as report\n"
      "drawing = 'canvas captions figure layout margins panels'.split()\n"
      "drawing += ['columns', 'scales', 'sheets', 'blocks_pictures']\n"
      "for found in pkgutil.iter_modules(report.__path__):\n"
      "  if found.name not in drawing and '_figure' not in found.name:\n"
      "    importlib.import_module('lalm.report.' + found.name)\n"
      "assert 'matplotlib' not in sys.modules\n"
      "from lalm.report import figure\n"
      "assert 'matplotlib' in sys.modules\n"
      "assert not {'jax', 'jaxlib'} & set(sys.modules)\n",
  )
  assert done.returncode == 0, done.stderr


def _table(records, environment):
  return f"{len(records)} records of {environment['slug']}\n"


def _sheet(tmp_path):
  folder = small(tmp_path)
  (folder / "environment.json").write_text('{"slug": "cpu-test"}')
  return folder


def test_a_table_and_one_figure_of_all_records_are_written(
    tmp_path, monkeypatch, capsys
):
  folder = _sheet(tmp_path)

  class Drawing:

    @staticmethod
    def render(records, environment):
      assert (len(records), environment["slug"]) == (8, "cpu-test")
      return {"svg": b"drawn", "pdf": b"too"}

  monkeypatch.setitem(sys.modules, "lalm.report.drawing", Drawing)
  build.publish(folder, _table, "drawn", "drawing")
  assert (folder / "table.md").read_text() == "8 records of cpu-test\n"
  assert (folder / "figures" / "drawn.svg").read_bytes() == b"drawn"
  figure = folder / "figures" / "drawn.svg"
  assert capsys.readouterr().out.splitlines()[-1] == f"figure: {figure}"


def test_a_table_needs_no_matplotlib(tmp_path):
  folder = _sheet(tmp_path)
  program = (
      "import pathlib, sys; sys.modules['matplotlib'] = None\n"
      "from lalm.report import blocks, build\n"
      "folder = pathlib.Path(sys.argv[1])\n"
      "build.publish(folder, blocks.tables, 'blocks', 'blocks_figure')\n"
      "assert 'jax' not in sys.modules\n"
  )
  done = subprocess.run(
      [sys.executable, "-c", program, str(folder)],
      capture_output=True,
      text=True,
      check=True,
  )
  assert done.stdout.splitlines()[-1] == build.EXTRA
  assert (folder / "table.md").is_file() and not (folder / "figures").exists()


def test_a_figure_that_is_no_module_fails(tmp_path):
  folder = _sheet(tmp_path)
  with pytest.raises(ModuleNotFoundError, match="no_such_module"):
    build.publish(folder, _table, "drawn", "no_such_module")
