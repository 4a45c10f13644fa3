"""What an experiment on errors writes when it ends."""

import json
import sys

import pytest

from lalm import store
from lalm.report import errors


@pytest.fixture
def folder(tmp_path):
  store.append(tmp_path / "records.jsonl", {"a": 1})
  (tmp_path / "environment.json").write_text(json.dumps({"b": 2}))
  return tmp_path


def _table(records, environment):
  return f"{records[0]['a']} {environment['b']}\n"


def test_a_table_and_a_figure_are_written(folder, monkeypatch, capsys):
  class Drawing:

    @staticmethod
    def render(records, environment):
      assert (records, environment) == ([{"a": 1}], {"b": 2})
      return {"svg": b"drawn", "pdf": b"too"}

  monkeypatch.setitem(sys.modules, "drawing", Drawing)
  errors.publish(folder, _table, "drawing")
  assert (folder / "table.md").read_text() == "1 2\n"
  assert (folder / "figures" / "errors.svg").read_bytes() == b"drawn"
  assert "figure: " in capsys.readouterr().out


def test_without_matplotlib_a_line_says_so(folder, monkeypatch, capsys):
  name = "lalm.report.roundings_figure"
  for module in [m for m in sys.modules if m.startswith("matplotlib")]:
    monkeypatch.setitem(sys.modules, module, None)
  for module in (name, "lalm.report.rendering", "lalm.report.sheets"):
    monkeypatch.delitem(sys.modules, module, raising=False)
  monkeypatch.setitem(sys.modules, "matplotlib", None)
  errors.publish(folder, _table, name)
  assert "no figure: matplotlib is not installed" in capsys.readouterr().out
  assert (folder / "table.md").exists()
  assert not (folder / "figures").exists()


def test_a_figure_that_cannot_be_imported_for_another_reason_fails(folder):
  with pytest.raises(ModuleNotFoundError, match="no_such_module"):
    errors.publish(folder, _table, "no_such_module")
