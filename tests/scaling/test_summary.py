"""Records to laws and crossovers: what shares a fit, and what is said."""

import json
import random

import numpy as np
import pytest

from lalm import scaling
from lalm.scaling import reading
from tests.oracles import costs

N = costs.LENGTHS.astype(float)
QUADRATIC = 1e-4 + 1e-9 * N**2
LINEAR = 1e-4 + 2e-6 * N


def sweep(seed=0):
  """Two kernels by five workers: they cross near n = 2000."""
  rng = np.random.default_rng(seed)
  parallel = costs.records(costs.noisy(rng, QUADRATIC))
  chunkwise = costs.records(
      costs.noisy(rng, LINEAR),
      point__mechanism="linear",
      point__form="chunkwise",
      point__chunk=64,
  )
  return parallel + chunkwise


def laws_of(records, quantity="time"):
  return [f for f in scaling.derive(records)[0] if f["quantity"] == quantity]


def the_law(records, quantity="time"):
  (found,) = laws_of(records, quantity)
  return found


def test_a_sweep_has_a_law_for_each_kernel_and_quantity():
  fits, _ = scaling.derive(sweep())
  names = [(f["mechanism"], f["form"], f["quantity"]) for f in fits]
  assert len(set(names)) == len(names) == 8
  words = {(f["form"], f["quantity"]): f["verdict"] for f in fits}
  assert words["parallel", "time"] == "quadratic"
  assert words["chunkwise", "time"] == "linear"
  assert (
      words["parallel", "flops"] == words["parallel", "memory"] == "quadratic"
  )
  assert words["parallel", "compile"] == "constant"


def test_a_law_says_all_the_schema_asks():
  found = the_law(costs.records(costs.noisy(np.random.default_rng(0), LINEAR)))
  low, high = found["exponent_ci"]
  assert low < 1 < high and low < found["exponent"] < high
  assert list(found["terms"]) == ["1", "n", "n log n", "n^2"]
  assert found["lengths"] == N.astype(int).tolist()
  assert found["replicates"] == 5
  assert found["against"] == "n"
  assert found["offset"] == pytest.approx(1e-4, rel=0.5)
  assert (found["machine"], found["device"]) == ("0123456789ab", "cpu")
  assert (found["causal"], found["dtype"]) == (False, "float32")
  for centre, (below, above), cost in zip(
      found["centre"], found["band"], LINEAR
  ):
    assert below < centre < above
    assert centre == pytest.approx(cost, rel=0.1)
  middle = found["local_slopes"][2]
  assert middle["length"] == pytest.approx(np.sqrt(N[2] * N[3]), rel=1e-5)
  assert middle["ci"][0] < middle["slope"] < middle["ci"][1]


def test_equal_records_give_equal_bytes_in_any_order():
  records = sweep()
  text = json.dumps(scaling.derive(records), allow_nan=False)
  assert json.dumps(scaling.derive(records[::-1]), allow_nan=False) == text
  random.Random(0).shuffle(records)
  assert json.dumps(scaling.derive(records), allow_nan=False) == text


def test_renaming_the_workers_changes_nothing():
  records = sweep()
  renamed = [r | {"replicate": (r["replicate"] + 3) % 5} for r in records]
  after, before = (
      [law for law in scaling.derive(lines)[0] if law["quantity"] != "compile"]
      for lines in (renamed, records)
  )
  assert after == before and len(before) > 0


def test_the_median_of_the_seconds_of_a_worker_is_its_time():
  records = costs.records(np.tile(QUADRATIC, (5, 1)))
  found = the_law(records)
  np.testing.assert_allclose(found["centre"], QUADRATIC, rtol=1e-5)
  assert found["exponent"] == pytest.approx(2, abs=1e-6)


@pytest.mark.parametrize(
    "status",
    ["wrong", "not_finite", "out_of_memory", "timeout", "crashed", "skipped"],
)
def test_only_what_ended_well_is_fitted(status):
  good = costs.records(np.tile(LINEAR, (5, 1)))
  bad = [costs.record(2**14, worker, 1e3, status=status) for worker in range(5)]
  assert scaling.derive(good + bad) == scaling.derive(good)
  assert scaling.derive(bad) == ([], [])


@pytest.mark.parametrize(
    "change",
    [
        {"machine": "ba9876543210"},
        {"device": "gpu"},
        {"versions": {"python": "3.13.0", "jax": "0.12.0"}},
        {"point__dtype": "bfloat16"},
        {"point__batch": 2},
        {"point__causal": True},
        {"point__corpus": "normal"},
        {"point__chunk": 128},
        {"point__pass": "forward_backward"},
    ],
)
def test_records_of_different_fingerprints_never_share_a_fit(change):
  here = costs.records(np.tile(LINEAR, (5, 1)))
  there = costs.records(np.tile(QUADRATIC, (5, 1)), **change)
  together = laws_of(here + there)
  apart = laws_of(here) + laws_of(there)
  assert len(together) == 2
  assert sorted(map(json.dumps, together)) == sorted(map(json.dumps, apart))


@pytest.mark.parametrize(
    "change", [{"machine": "ba9876543210"}, {"point__dtype": "bfloat16"}]
)
def test_curves_of_different_fingerprints_are_not_compared(change):
  here = costs.records(np.tile(LINEAR, (5, 1)))
  there = costs.records(
      np.tile(QUADRATIC, (5, 1)), point__mechanism="linear", **change
  )
  assert scaling.derive(here + there)[1] == []


def test_a_changed_kernel_is_fitted_by_its_newest_key_alone():
  old = costs.records(np.tile(QUADRATIC, (5, 1)))
  new = [
      r | {"key": "new" + r["key"], "started": "2026-02-01T00:00:00Z"}
      for r in costs.records(np.tile(LINEAR, (5, 1)))
  ]
  assert scaling.derive(old + new) == scaling.derive(new)
  assert scaling.derive(new + old) == scaling.derive(new)


def test_a_kernel_that_is_wrong_by_now_has_no_law():
  old = costs.records(np.tile(QUADRATIC, (5, 1)))
  failed = {
      "key": "new",
      "started": "2026-02-01T00:00:00Z",
      "status": "wrong",
      "seconds": None,
  }
  assert scaling.derive(old + [r | failed for r in old]) == ([], [])
  # Nor has a new one that was not measured yet the law of the old one.
  skipped = [r | failed | {"status": "skipped"} for r in old]
  assert scaling.derive(old + skipped) == ([], [])
  # But a program that could not be made says nothing of what there is.
  unplanned = [r | failed | {"planned": False} for r in old]
  assert scaling.derive(old + unplanned) == scaling.derive(old)


def test_what_is_missing_or_not_a_number_is_left_out():
  records = costs.records(np.tile(QUADRATIC, (5, 1)))
  records[0]["seconds"] = []
  records[7]["seconds"] = [float("nan"), 0.0, -1.0]
  records[14] = {k: v for k, v in records[14].items() if k != "seconds"}
  records[20]["seconds"] = None
  records[21]["memory"] = None
  records[22]["operations"] = {}
  found = the_law(records)
  assert found["exponent"] == pytest.approx(2, abs=1e-6)
  assert found["verdict"] == "quadratic"
  json.dumps(scaling.derive(records), allow_nan=False)


@pytest.mark.parametrize(
    "value", [None, True, "1", 0, -1, float("inf"), float("nan"), [1]]
)
def test_what_is_no_positive_number_is_missing(value):
  assert np.isnan(reading.number(value))
  assert reading.number(3) == 3


def test_memory_is_weighed_by_its_floor_of_noise():
  """A floor of 20 MiB drowns the small sizes; the large ones decide."""
  rng = np.random.default_rng(1)
  records = costs.records(np.tile(LINEAR, (5, 1)))
  for line in records:
    floor = rng.uniform(0, 20 * 2**20)
    size = 32 * line["point"]["length"] ** 2
    line["memory"] = {"peak_bytes": int(size + floor)}
  found = the_law(records, "memory")
  low, high = found["exponent_ci"]
  assert low < 2 < high and high - low < 0.2
  assert found["verdict"] == "quadratic"


def test_a_quantity_that_no_record_has_has_no_law():
  records = [
      r | {"compile_seconds": None}
      for r in costs.records(np.tile(LINEAR, (5, 1)))
  ]
  assert laws_of(records, "compile") == []
  assert len(laws_of(records)) == 1


def test_compile_time_rests_on_the_workers_that_compiled():
  found = the_law(costs.records(np.tile(LINEAR, (5, 1))), "compile")
  assert found["replicates"] == 2
  assert found["exponent"] == pytest.approx(0, abs=1e-6)
  assert found["verdict"] == "constant"


def test_one_worker_counts_operations_but_states_no_law_of_time():
  records = costs.records(LINEAR[None])
  time, flops = the_law(records), the_law(records, "flops")
  assert time["exponent_ci"] is None and time["verdict"] == "inconclusive"
  assert time["reason"].startswith("one worker")
  assert time["band"] == [None] * len(N)
  assert flops["exponent_ci"] == [2, 2] and flops["verdict"] == "quadratic"


def test_the_fewest_records_do_not_crash():
  assert scaling.derive([]) == ([], [])
  one = [costs.record(256, 0, 1e-3)]
  assert the_law(one)["exponent"] is None
  two = one + [costs.record(512, 0, 2e-3)]
  assert the_law(two)["exponent"] == pytest.approx(1, abs=1e-6)
  assert the_law(two)["verdict"] == "inconclusive"
  short = [costs.record(n, w, 1e-3 * n) for n in (1, 2, 4) for w in range(3)]
  assert the_law(short)["verdict"] == "linear"


def causal(n):
  return 4 * 64 * 256**2 * (n / 256) * (n / 256 + 1) / 2


def test_causal_time_is_taken_against_the_closed_form():
  records = []
  for worker in range(5):
    for n in costs.LENGTHS:
      count = causal(n)
      records.append(
          costs.record(
              n,
              worker,
              1e-4 + 1e-11 * count,
              point__causal=True,
              operations={"products": count, "closed_form": int(count)},
          )
      )
  for quantity in ("time", "flops"):
    found = the_law(records, quantity)
    assert found["against"] == "closed form"
    assert found["exponent"] == pytest.approx(2, abs=1e-6)
    assert found["verdict"] == "quadratic"
  # The terms stay those of n, so that the law can be drawn over n.
  terms = the_law(records)["terms"]
  law = terms["1"] + terms["n"] * N + terms["n^2"] * N**2
  np.testing.assert_allclose(law, 1e-4 + 1e-11 * causal(N), rtol=1e-4)


def test_causal_time_without_a_closed_form_is_taken_against_n():
  records = costs.records(
      np.tile(LINEAR, (5, 1)), point__causal=True, operations__closed_form=None
  )
  assert the_law(records)["against"] == "n"


def test_operations_without_an_order_lend_no_lengths():
  # One token more of a state for each power of two.
  counts = 1e5 * np.log2(N)
  records = [
      costs.record(
          n,
          worker,
          3e-9 * count,
          point__causal=True,
          operations={"products": count, "closed_form": int(count)},
      )
      for worker in range(5)
      for n, count in zip(costs.LENGTHS, counts)
  ]
  for quantity in ("time", "flops"):
    found = the_law(records, quantity)
    assert found["against"] == "n" and 0 < found["exponent"] < 0.3


def test_the_share_of_the_ceiling_is_products_per_second_over_the_rate():
  records = costs.records(np.tile(QUADRATIC, (5, 1)))
  expected = 4096 * N[-1] ** 2 / QUADRATIC[-1] / 1e11
  found = the_law(records)["share_of_ceiling"]
  assert found == pytest.approx(expected, rel=1e-5)
  slow = [
      r | {"seconds": [10.0]} if r["replicate"] in (0, 3) else r
      for r in records
  ]
  assert the_law(slow)["share_of_ceiling"] == found
  assert the_law(records, "flops")["share_of_ceiling"] is None
  for lacking in ({"ceilings": None}, {"operations__closed_form": None}):
    without = costs.records(np.tile(QUADRATIC, (5, 1)), **lacking)
    assert the_law(without)["share_of_ceiling"] is None


def test_the_cheaper_curve_at_the_top_is_b():
  _, found = scaling.derive(sweep())
  assert {c["quantity"] for c in found} == {"time", "memory", "flops"}
  (time,) = [c for c in found if c["quantity"] == "time"]
  assert (time["a"], time["b"]) == ("softmax.parallel", "linear.chunkwise")
  assert time["length"] == pytest.approx(2000, rel=0.1)
  assert time["length_ci"][0] < 2000 < time["length_ci"][1]
  assert time["pass"] == "forward" and time["machine"] == "0123456789ab"
  (memory,) = [c for c in found if c["quantity"] == "memory"]
  assert memory["length"] is None and memory["length_ci"] is None
  assert memory["reason"] == "not told apart at any length"


def test_swapped_names_swap_a_and_b():
  swap = {"softmax": "linear", "linear": "softmax"}
  records = [
      r | {"point": r["point"] | {"mechanism": swap[r["point"]["mechanism"]]}}
      for r in sweep()
  ]
  (time,) = [c for c in scaling.derive(records)[1] if c["quantity"] == "time"]
  assert (time["a"], time["b"]) == ("linear.parallel", "softmax.chunkwise")
