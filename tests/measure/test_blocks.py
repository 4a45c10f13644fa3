"""The matrix of a point is the one applied, and its ranks keep to theory."""

import dataclasses
import json

import numpy as np
import pytest

from lalm.attention import catalogue
from lalm.measure import blocks
from lalm.measure import ceilings

_POINT = {
    "mechanism": "linear", "form": "matrix", "pass": "forward", "length": 24,
    "batch": 1, "heads": 2, "width": 4, "value_width": 3, "dtype": "float64",
    "causal": True, "chunk": None, "corpus": "", "seed": 0, "window": 5,
    "horizon": 64,
}  # fmt: skip
_FULL = ("linformer", "nystromformer")
# One of each bound and shape; the others are computed by the experiment.
_QUICK = ("softmax", "window", "deltaproduct", "linformer")


@pytest.fixture(autouse=True)
def _no_ceilings(monkeypatch):
  def fail(dtype):
    raise AssertionError("nothing is timed")

  monkeypatch.setattr(ceilings, "measure", fail)
  monkeypatch.setattr(ceilings, "products", fail)


def _measure(replicate=0, **fields):
  return blocks.Target().measure({**_POINT, **fields}, replicate, {})


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in _QUICK else pytest.mark.slow)
        for name in blocks.names()
    ],
)
def test_ranks_of_every_mechanism_are_within_theory(name):
  record = _measure(mechanism=name, causal=name not in _FULL)
  assert (record["status"], record["reason"]) == ("ok", "")
  assert json.loads(json.dumps(record, allow_nan=False)) == record
  assert record["error"]["relative"] < 1e-13 and "seconds" not in record
  found = record["blocks"]
  assert found["cuts"] == [6, 8, 11, 12, 16, 18] and len(found["heads"]) == 2
  for head in found["heads"]:
    assert all(
        rank <= min(cut * (2 if name == "deltaproduct" else 1), 24 - cut)
        for cut, rank in zip(found["cuts"], head["ranks"])
    )


def test_a_state_is_used_whole_and_softmax_has_full_rank():
  ranks = lambda name: _measure(mechanism=name)["blocks"]["heads"][0]["ranks"]
  assert ranks("linear") == [4] * 6
  assert ranks("softmax") == [6, 8, 11, 12, 8, 6]
  assert ranks("window") == [4] * 6


def test_a_replicate_reads_another_text_and_only_the_first_has_a_picture():
  first, again, second = _measure(), _measure(), _measure(1)
  assert first == again and first["key"] == second["key"]
  assert first["blocks"]["heads"] != second["blocks"]["heads"]
  assert len(first["blocks"]["picture"]) == 24
  assert "picture" not in second["blocks"]


def test_log_decays_are_over_the_horizon_and_other_gates_are_not():
  mechanism = catalogue.get("mlstm")
  float32 = {**_POINT, "mechanism": "mlstm", "dtype": "float32"}
  gates = lambda horizon: blocks._inputs(
      {**float32, "horizon": horizon}, mechanism, 0
  )[3:]
  (decay, given), (slow, same) = gates(1), gates(10)
  np.testing.assert_allclose(slow * 10, decay, rtol=1e-6)
  np.testing.assert_array_equal(given, same)


def test_decays_of_heads_are_their_own():
  found = [_measure(mechanism=name) for name in ("retnet", "lightning")]
  values = [r["blocks"]["heads"][0]["values"] for r in found]
  assert values[0] != values[1]
  point = {**_POINT, "mechanism": "retnet"}
  *_, decay = blocks._inputs(point, catalogue.get("retnet"), 0)
  np.testing.assert_allclose(decay, np.log([1 - 1 / 32, 1 - 1 / 64]), rtol=1e-6)


def test_decays_that_keys_hold_are_over_the_horizon_too():
  point = {**_POINT, "mechanism": "hgrn2"}
  mechanism = catalogue.get("hgrn2")
  logits = lambda horizon: np.float64(
      blocks._inputs({**point, "horizon": horizon}, mechanism, 0)[1]
  )
  log_decay = lambda horizon: -np.log1p(np.exp(-logits(horizon)))
  np.testing.assert_allclose(log_decay(10) * 10, log_decay(1), rtol=1e-9)


def test_a_plan_has_the_key_of_the_record():
  planned = blocks.TARGET.plan(_POINT, {})
  assert planned["key"] == _measure()["key"]
  assert planned["bytes"] > 2 * 24**2 * 8 and planned["seconds"] > 0
  for change in ({"window": 6}, {"horizon": 32}, {"width": 5}):
    assert blocks.TARGET.plan({**_POINT, **change}, {})["key"] != planned["key"]


def test_a_key_is_of_what_is_done_with_the_matrix(monkeypatch):
  planned = blocks.TARGET.plan(_POINT, {})["key"]
  monkeypatch.setattr(blocks, "_FOLLOWS", blocks._FOLLOWS[1:])
  assert blocks.TARGET.plan(_POINT, {})["key"] != planned


def test_a_matrix_that_is_not_applied_is_wrong(monkeypatch):
  right = catalogue.get("linear")

  def transposed(q, k, **gates):
    return right.matrix(k, q, **gates)

  wrong = dataclasses.replace(right, apply=transposed)
  monkeypatch.setitem(catalogue._BY_NAME, "linear", wrong)
  record = _measure()
  assert record["status"] == "wrong" and "relative error" in record["reason"]
  assert "blocks" not in record


def test_a_rank_that_theory_excludes_is_wrong(monkeypatch):
  smaller = dataclasses.replace(
      catalogue.get("linear"), features=lambda width: width - 1
  )
  monkeypatch.setitem(catalogue._BY_NAME, "linear", smaller)
  record = _measure()
  assert record["status"] == "wrong"
  assert record["reason"].startswith("rank: expected at most 3 (F) below 6")


def test_one_token_has_no_block():
  with pytest.raises(ValueError, match="length: expected at least 2, got 1"):
    blocks.TARGET.plan({**_POINT, "length": 1}, {})


def test_surroundings_are_the_environment():
  target = blocks.Target()
  assert target.environment() == target.surroundings()
  assert "ceilings" not in target.environment()


def test_a_key_is_of_how_decays_are_made(monkeypatch):
  planned = blocks.TARGET.plan(_POINT, {})["key"]
  told = blocks.keys.code
  monkeypatch.setattr(
      blocks.keys, "code", lambda *parts: told(*parts).replace("-5.0", "-4.0")
  )
  assert blocks.TARGET.plan(_POINT, {})["key"] != planned
