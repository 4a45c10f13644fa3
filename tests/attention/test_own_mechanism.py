"""`pytest --mechanism` puts a mechanism of one's own through the suite."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def _run(name: str, *arguments: str) -> tuple[int, str]:
  """Exit status and output of the suite on one mechanism alone."""
  done = subprocess.run(
      [
          sys.executable,
          *("-m", "pytest", "tests/attention", "-n", "0", "-q", "-rf"),
          *(f"--mechanism=tests.attention.own_mechanism:{name}", "-k"),
          *(f"own_mechanism:{name}", "-p", "no:cacheprovider", *arguments),
      ],
      cwd=ROOT,
      capture_output=True,
      text=True,
  )
  return done.returncode, done.stdout


def test_a_mechanism_of_ones_own_joins_the_conformance_tests():
  status, text = _run("AVERAGE", "--collect-only")
  assert status == 0, text
  for theorem in (
      "test_every_form_equals_the_oracle",
      "test_derivatives_equal_those_of_the_definition_in_float64",
      "test_no_output_sees_a_later_token",
      "test_a_second_eager_call_compiles_nothing",
  ):
    assert theorem in text


@pytest.mark.slow
def test_a_correct_mechanism_of_ones_own_passes():
  status, text = _run("AVERAGE")
  assert status == 0, text


@pytest.mark.slow
def test_a_leak_in_a_mechanism_of_ones_own_is_caught():
  status, text = _run("LEAKY")
  assert status == 1, text
  assert "test_no_output_sees_a_later_token" in text


@pytest.mark.slow
def test_a_mechanism_that_is_not_there_is_named():
  status, text = _run("NO_SUCH_NAME", "--collect-only")
  assert status != 0
  assert "NO_SUCH_NAME" in text and "expected" in text
