"""Ceilings are rates of work that was done."""

import jax
import pytest

from lalm.measure import ceilings


def test_ceilings_are_the_work_over_the_best_time(monkeypatch):
  monkeypatch.setattr(ceilings, "_SIZES", (64, 128))
  monkeypatch.setattr(ceilings, "_STREAMS", (2**10, 2**12))
  monkeypatch.setattr(ceilings, "_BATCH", (3, 16, 8))
  monkeypatch.setattr(ceilings, "_best", _run_for(0.5))
  found = ceilings.measure("float32")
  assert found == {
      "products_per_second": 2 * 128**3 / 0.5,
      "batched_products_per_second": 2 * 3 * 16 * 16 * 8 / 0.5,
      "bytes_per_second": 2 * 2**12 * 4 / 0.5,
  }


def _run_for(seconds):
  def best(call):
    jax.block_until_ready(call())
    return seconds

  return best


def test_a_size_that_takes_long_enough_is_not_doubled(monkeypatch):
  monkeypatch.setattr(ceilings, "_SIZES", (16, 32, 64))
  monkeypatch.setattr(ceilings, "_seconds", lambda call: 1.0)
  monkeypatch.setattr(ceilings, "_best", _run_for(1.0))
  assert ceilings.products() == 2 * 16**3


def test_the_best_of_several_runs_counts(monkeypatch):
  now, durations = [0.0], iter([3.0, 1.0, 2.0, 5.0])
  monkeypatch.setattr(ceilings.time, "perf_counter", lambda: now[0])

  def call():
    now[0] += next(durations)

  assert ceilings._best(call) == 1.0


@pytest.mark.parametrize("rate", [ceilings.products, ceilings.batched_products])
@pytest.mark.parametrize(
    ("dtype", "precision"), [("float32", "HIGHEST"), ("bfloat16", "DEFAULT")]
)
def test_products_are_as_precise_as_those_of_attention(
    monkeypatch, rate, dtype, precision
):
  monkeypatch.setattr(ceilings, "_SIZES", (8,))
  monkeypatch.setattr(ceilings, "_BATCH", (2, 4, 8))
  programs = []

  def best(call):
    programs.append(call.func.lower(*call.args).as_text())
    return 1.0

  monkeypatch.setattr(ceilings, "_best", best)
  rate(dtype)
  assert f"precision = [{precision}, {precision}]" in programs[0]


@pytest.mark.parametrize(("device", "least"), [("cpu", 2**12), ("gpu", 2**14)])
def test_an_accelerator_streams_no_small_array(monkeypatch, device, least):
  monkeypatch.setattr(ceilings.jax, "default_backend", lambda: device)
  monkeypatch.setattr(ceilings, "_STREAMS", (2**10, 2**11, 2**12, 2**13))
  monkeypatch.setattr(ceilings, "_LEAST", 2**14)
  monkeypatch.setattr(ceilings, "_seconds", lambda call: call().size and 1.0)
  monkeypatch.setattr(ceilings, "_best", _run_for(1.0))
  assert ceilings.bandwidth("float32") == 2 * least
