"""What documents show runs as it is shown; what they link to is there."""

import pathlib
import re

import pytest

_ROOT = pathlib.Path(__file__).parents[1]
_PAGES = sorted((_ROOT / "docs").glob("*.md"))


def test_there_are_some():
  assert [page.name for page in _PAGES] == ["linear_algebra.md"]


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.stem)
def test_examples_run_in_their_order(page):
  blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
  assert len(blocks) > 5
  space = {"__name__": page.stem}
  for number, code in enumerate(blocks):
    exec(compile(code, f"{page.name}, example {number}", "exec"), space)


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.stem)
def test_what_is_linked_to_is_there(page):
  links = re.findall(r"\]\(([^)#]+)\)", page.read_text())
  assert links
  for link in links:
    assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.stem)
def test_commands_are_of_experiments(page):
  names = re.findall(r"-m experiments\.(\w+)", page.read_text())
  assert names
  for name in names:
    assert (_ROOT / "experiments" / f"{name}.py").exists(), name
