"""Parametrisation of the conformance suite over the catalogue.

A test that takes `mechanism` runs for every name in the catalogue and every
`--mechanism`; one that takes `form` too, for every form; one that takes
`case` too, for every case of its mark `cases` that the form can compute.

Softmax and linear attention, and a mechanism of one's own, meet every test in
the quick suite; those two only the cases that the mark `leading` names, if a
test has it. The other mechanisms share their algorithms: of them it tries what
the mark `quick` names. The rest is marked `slow`.
"""

import itertools
from typing import Any

import pytest

from lalm.attention import catalogue
from tests.attention import subject


def pytest_configure(config: pytest.Config) -> None:
  """Registers the mark that hands a test its cases."""
  config.addinivalue_line(
      "markers", "cases(*cases): the cases that a conformance test runs on"
  )
  config.addinivalue_line(
      "markers", "catalogued: asks more than of a mechanism of one's own"
  )
  config.addinivalue_line(
      "markers", "besides_itself: never the definition in float64"
  )
  config.addinivalue_line(
      "markers",
      "quick(*cases, forms=None, names=None): what of a test all mechanisms, or"
      " those named, meet in the quick suite, everything if no case is named",
  )
  config.addinivalue_line(
      "markers",
      "leading(*cases): the only cases of a test that softmax and linear"
      " attention meet in the quick suite",
  )
  config.addinivalue_line(
      "markers", "forms(*names): the only forms that a conformance test runs on"
  )


def _names(metafunc: pytest.Metafunc) -> list[str]:
  own = metafunc.config.getoption("--mechanism")
  if next(metafunc.definition.iter_markers("catalogued"), None):
    own = []
  return list(dict.fromkeys([*catalogue.names(), *own]))


def _quick(metafunc: pytest.Metafunc, name: str, form: Any, case: Any) -> bool:
  """Whether the quick suite tries this."""
  if subject.own(name):
    return True
  if name in ("softmax", "linear"):
    leading = next(metafunc.definition.iter_markers("leading"), None)
    return leading is None or case is None or case.name in leading.args
  mark = next(metafunc.definition.iter_markers("quick"), None)
  if mark is None:
    return False
  forms, names = mark.kwargs.get("forms"), mark.kwargs.get("names")
  if forms is not None and form not in forms:
    return False
  if names is not None and name not in names:
    return False
  return not mark.args or case is None or case.name in mark.args


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
  """Parametrises `mechanism`, `form` and `case`."""
  wanted = [
      name
      for name in ("mechanism", "form", "case")
      if name in metafunc.fixturenames
  ]
  if "mechanism" not in wanted:
    return
  forms = next(metafunc.definition.iter_markers("forms"), None)
  marked = next(metafunc.definition.iter_markers("cases"), None)
  cases = marked.args if marked and "case" in wanted else (None,)
  itself = next(metafunc.definition.iter_markers("besides_itself"), None)
  rows, ids = [], []
  for name in _names(metafunc):
    every = tuple(catalogue.get(name).forms) if "form" in wanted else (None,)
    for form, case in itertools.product(every, cases):
      if forms and form not in forms.args:
        continue
      if case is not None and not subject.computes(name, form, case):
        continue
      if itself and form == subject.definition(name):
        if case is None or case.dtype == "float64":
          continue
      values = {"mechanism": name, "form": form, "case": case}
      marks = () if _quick(metafunc, name, form, case) else pytest.mark.slow
      rows.append(pytest.param(*(values[key] for key in wanted), marks=marks))
      parts = (name, form, case and case.name)
      ids.append("-".join(str(part) for part in parts if part is not None))
  metafunc.parametrize(wanted, rows, ids=ids)
