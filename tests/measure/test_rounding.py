"""Rounding errors are those of the form, beside its tolerance."""

import dataclasses
import json
import os
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from lalm.attention import catalogue
from lalm.attention import reference
from lalm.measure import keys
from lalm.measure import points
from lalm.measure import rounding
from lalm.measure import samples
from lalm.measure import tolerances

pytestmark = pytest.mark.usefixtures("quickly_compiled")

_POINT = {
    "mechanism": "mamba2", "form": "chunkwise", "pass": "forward",
    "length": 40, "batch": 1, "heads": 2, "width": 8, "value_width": 8,
    "dtype": "float32", "causal": True, "chunk": None, "corpus": "", "seed": 0,
}  # fmt: skip
_SETTINGS = {"cache": None}


def _measured(**fields):
  record = rounding.Target().measure({**_POINT, **fields}, 0, _SETTINGS)
  assert json.loads(json.dumps(record, allow_nan=False)) == record
  return record


# A state of a fixed size, levels, a ring, a cache, and buckets.
@pytest.mark.parametrize(
    ("mechanism", "form"),
    [
        ("mamba2", "step"),
        pytest.param("loglinear", "step", marks=pytest.mark.slow),
        ("window", "step"),
        ("softmax", "step"),
        ("lsh", "chunkwise"),
        pytest.param("performer", "recurrent", marks=pytest.mark.slow),
    ],
)
def test_forms_are_within_their_tolerance(mechanism, form):
  record = _measured(mechanism=mechanism, form=form)
  found = record["distance"]
  assert record["status"] == "ok" and found["within"]
  assert 0 < found["relative"] < found["tolerance"] == 1e-6
  assert record["transition"] == catalogue.get(mechanism).transition


def test_distances_are_of_inputs_as_they_were_rounded():
  point = {**_POINT, "dtype": "bfloat16"}
  mechanism = rounding.get("mamba2")
  arrays = points.inputs(point, mechanism)
  wide = [jnp.float32(x) for x in arrays]
  exact = np.float64(mechanism.definition(*wide[:3], log_decay=wide[3]).out)
  out = mechanism.forms["chunkwise"](*arrays[:3], log_decay=arrays[3]).out
  found = _measured(dtype="bfloat16")["distance"]
  out = np.float64(out)
  # 32 rows of each of both heads are drawn: all but a few.
  for name, part in (("early", slice(20)), ("late", slice(20, None))):
    whole = samples.relative_rms(out[:, part], exact[:, part])
    assert found[name] == pytest.approx(whole, rel=0.2)
  assert found["relative"] == max(found["early"], found["late"] / 2)
  assert found["tolerance"] == tolerances.forward("bfloat16", 40)


def test_what_the_gate_refuses_is_a_measurement(monkeypatch):
  right = catalogue.get("mamba2")

  def wrong(q, k, v, **rest):
    out = right.forms["chunkwise"](q, k, v, **rest).out
    return out.at[:, 20:].multiply(1.01)

  forms = {**right.forms, "chunkwise": wrong}
  off = dataclasses.replace(right, forms=forms)
  monkeypatch.setitem(catalogue._BY_NAME, "mamba2", off)
  record = _measured()
  assert record["status"] == "ok" and not record["distance"]["within"]
  found = record["distance"]
  assert found["early"] < 0.01  # the first half of the rows that were drawn
  assert found["late"] == pytest.approx(0.01, rel=0.02)
  assert found["relative"] == max(found["early"], found["late"] / 2)
  assert found["relative"] < found["late"]


def test_what_is_not_finite_says_so(monkeypatch):
  right = catalogue.get("mamba2")
  wrong = lambda q, k, v, **rest: v / 0
  off = dataclasses.replace(right, forms={**right.forms, "chunkwise": wrong})
  monkeypatch.setitem(catalogue._BY_NAME, "mamba2", off)
  record = _measured()
  assert record["status"] == "not_finite" and "640 of 640" in record["reason"]


def test_the_definition_is_evaluated_once_for_all_forms(monkeypatch):
  called = []
  reference = catalogue.Mechanism.reference

  def counted(self, *arrays, **rest):
    called.append(len(arrays))
    return reference(self, *arrays, **rest)

  monkeypatch.setattr(catalogue.Mechanism, "reference", counted)
  target = rounding.Target()
  for form in ("chunkwise", "recurrent"):
    target.measure({**_POINT, "form": form}, 0, _SETTINGS)
  assert len(called) == 2  # heads
  target.measure({**_POINT, "seed": 1}, 0, _SETTINGS)
  target.measure(_POINT, 1, _SETTINGS)  # other rows
  target.measure({**_POINT, "mechanism": "retnet"}, 0, _SETTINGS)
  assert len(called) == 8


def test_every_form_is_swept_and_a_growing_cache_is_dear():
  for name in rounding.names():
    assert rounding.get(name).featured == tuple(catalogue.get(name).forms)
  point = {**_POINT, "mechanism": "softmax", "form": "step"}
  seconds = [
      rounding.Target().plan({**point, "length": n}, _SETTINGS)["seconds"]
      for n in (2**16, 2**17)
  ]
  assert seconds[1] > 3 * seconds[0] > 60


def test_a_key_is_of_the_definition_too(monkeypatch):
  plan = lambda: rounding.Target().plan(_POINT, _SETTINGS)["key"]
  before = plan()
  assert plan() == before
  right = catalogue.get("mamba2")

  def twice(q, k, v, **rest):
    return right.definition(q, k, 2 * v, **rest)

  off = dataclasses.replace(right, definition=twice)
  monkeypatch.setitem(catalogue._BY_NAME, "mamba2", off)
  assert plan() != before


def test_a_key_is_the_same_in_every_process():
  """No address of a function is in it."""
  point = {**_POINT, "mechanism": "cosine", "form": "chunkwise"}
  script = (
      "from lalm.measure import rounding;"
      f"print(rounding.Target().plan({point!r}, {_SETTINGS!r})['key'])"
  )
  found = {
      subprocess.run(
          [sys.executable, "-c", script],
          capture_output=True,
          check=True,
          env={**os.environ, "PYTHONHASHSEED": seed},
      ).stdout
      for seed in ("1", "2")
  }
  assert len(found) == 1


def test_a_key_is_of_the_module_that_a_definition_stands_in(monkeypatch):
  plan = lambda: rounding.Target().plan(point, _SETTINGS)["key"]
  point = {**_POINT, "mechanism": "window", "form": "chunkwise"}
  before, code = plan(), keys.code
  other = lambda *modules: code(*modules) + "pass" * (reference in modules)
  monkeypatch.setattr(keys, "code", other)
  assert plan() != before


def test_sequences_that_begin_alike_have_rows_of_their_own():
  # The text's first and last two sequences of these begin with one letter.
  point = {**_POINT, "mechanism": "softmax", "form": "parallel", "heads": 1}
  point |= {"width": 32, "value_width": 32, "batch": 4, "length": 8}
  arrays = points.inputs(point, rounding.get("softmax"))
  firsts = {x.tobytes() for x in arrays[0][:, 0]}
  assert len(firsts) < 4
  record = rounding.Target().measure(point, 0, _SETTINGS)
  assert record["distance"]["within"]
