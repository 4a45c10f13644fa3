"""A key follows from what a record does, and from nothing else."""

import importlib.util

import pytest

from lalm.measure import environment
from lalm.measure import keys

_ORIGINAL = '''"""What it is."""

def double(x):
  """Twice x."""
  return 2 * x


class Empty:
  """Nothing."""
'''


@pytest.fixture(name="code")
def _code(tmp_path):
  def of(text, name=[0]):
    name[0] += 1
    path = tmp_path / f"own_{name[0]}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    return keys.code(importlib.util.module_from_spec(spec))

  return of


def test_words_about_code_change_nothing_and_code_does(code):
  before = code(_ORIGINAL)
  assert "2 * x" in before and "Twice" not in before
  reworded = _ORIGINAL.replace("Twice x.", "x, and x again.").replace(
      "return", "# Why not.\n  return"
  )
  assert code(reworded) == before
  assert code(_ORIGINAL.replace("2 * x", "3 * x")) != before


def test_a_method_has_code_of_its_own():
  class Own:

    def one(self):
      """Says so."""
      return 1

  assert keys.code(Own.one).split() == "def one(self): return 1".split()


def test_a_text_that_is_no_docstring_counts(code):
  text = 'NAME = "one"\n'
  assert code(text) != code(text.replace("one", "two"))


def test_a_key_is_of_the_point_and_every_part(monkeypatch):
  monkeypatch.setattr(environment, "fingerprint", lambda: "here")
  calls = [
      ({"length": 1}, "program"),
      ({"length": 2}, "program"),
      ({"length": 1}, "another"),
      ({"length": 1}, "program", "data"),
  ]
  found = {keys.of(*call) for call in calls}
  assert len(found) == 4 and {len(key) for key in found} == {16}
  assert keys.of({"length": 1}, "program") in found
  monkeypatch.setattr(environment, "fingerprint", lambda: "elsewhere")
  assert keys.of({"length": 1}, "program") not in found
  compiled = keys.of({"length": 1}, "program", machine="another")
  monkeypatch.setattr(environment, "fingerprint", lambda: "here")
  assert keys.of({"length": 1}, "program", machine="another") == compiled
  assert keys.of({"length": 1}, "program", machine="here") in found
