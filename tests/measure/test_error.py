"""The gate lets right kernels pass and catches wrong ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.data import text
from lalm.measure import error
from lalm.measure import gradients as differences
from lalm.measure import samples
from tests.measure import naive

_LENGTH = 200


def _inputs(dtype="float32", length=_LENGTH, kv_heads=4):
  return text.projected(
      text.NORMAL,
      0,
      batch=2,
      length=length,
      heads=4,
      kv_heads=kv_heads,
      width=16,
      value_width=8,
      dtype=dtype,
  )


def _forward(kernel, inputs, causal=True, seed=0):
  out = np.asarray(jax.jit(kernel)(*inputs))
  return error.check_forward(
      out, inputs, naive.reference, causal=causal, seed=seed
  )


def _backward(kernel, inputs, causal=True, seed=0, change=None):
  drawn = differences.probe(inputs, causal=causal, seed=seed)
  pull = jax.jit(lambda q, k, v, c: jax.vjp(kernel, q, k, v)[1](c))
  gradients = [np.array(g) for g in pull(*inputs, drawn.cotangent)]
  if change is not None:
    change(gradients, drawn)
  return error.check_backward(
      gradients, inputs, drawn, naive.reference, causal=causal, seed=seed
  )


def _right(causal=True):
  return lambda q, k, v: naive.parallel(q, k, v, causal=causal)[0]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_right_kernel_passes(dtype, causal):
  inputs = _inputs(dtype)
  forward = _forward(_right(causal), inputs, causal)
  assert forward.status == "ok", forward
  assert forward.kind == "rows"
  assert 0 < forward.relative <= forward.tolerance
  backward = _backward(_right(causal), inputs, causal)
  assert backward.status == "ok", backward
  assert backward.kind == "directional"


def test_a_right_kernel_of_float64_passes():
  with jax.enable_x64(True):
    inputs = _inputs("float64")
    assert _forward(_right(), inputs).relative < 1e-14
    assert _backward(_right(), inputs).status == "ok"


@pytest.mark.parametrize("length", [1, 2, 17])
def test_short_inputs_pass(length):
  inputs = _inputs(length=length)
  assert _forward(_right(), inputs).status == "ok"
  assert _backward(_right(), inputs).status == "ok"


def test_grouped_heads_pass():
  inputs = _inputs(kv_heads=2)
  assert _forward(_right(), inputs).status == "ok"
  assert _backward(_right(), inputs).status == "ok"


def test_a_prefix_is_checked_of_a_longer_causal_kernel(monkeypatch):
  monkeypatch.setattr(differences, "PREFIX", 64)
  inputs = _inputs()
  lengths = []

  def reference(q, k, v, rows, *, causal):
    lengths.append(len(k))
    return naive.reference(q, k, v, rows, causal=causal)

  drawn = differences.probe(inputs, causal=True, seed=0)
  pull = jax.vjp(_right(), *inputs)[1]
  gradients = [np.asarray(g) for g in pull(jnp.asarray(drawn.cotangent))]
  verdict = error.check_backward(
      gradients, inputs, drawn, reference, causal=True, seed=0
  )
  assert verdict.status == "ok", verdict
  assert set(lengths) == {64}


# Each takes the definition's place with one fault.
def _mask_off_by_one(q, k, v):
  return _right()(q, jnp.roll(k, 1, axis=1), jnp.roll(v, 1, axis=1))


def _strict_mask(q, k, v):
  out = _right()(q, k, v)
  shifted = _right()(q[:, 1:], k[:, :-1], v[:, :-1])
  return jnp.concatenate([out[:, :1], shifted], axis=1)


def _future_leak(q, k, v):
  return _right(causal=False)(q, k, v)


def _wrong_scale(q, k, v):
  return _right()(q * 1.001, k, v)


def _scaled_output(q, k, v):
  return _right()(q, k, v) * 1.001


def _shifted_row(q, k, v):
  return jnp.roll(_right()(q, k, v), 1, axis=1)


def _bfloat16_sums(q, k, v):
  q, k, v = (array.astype(jnp.bfloat16) for array in (q, k, v))
  return _right()(q, k, v).astype(jnp.float32)


def _wrong_head(q, k, v):
  return jnp.roll(_right()(q, k, v), 1, axis=2)


def _state_dropped(q, k, v):
  half = q.shape[1] // 2
  first = _right()(q[:, :half], k[:, :half], v[:, :half])
  second = _right()(q[:, half:], k[:, half:], v[:, half:])
  return jnp.concatenate([first, second], axis=1)


_WRONG = [
    _mask_off_by_one,
    _strict_mask,
    _future_leak,
    _wrong_scale,
    _scaled_output,
    _shifted_row,
    _bfloat16_sums,
    _wrong_head,
    _state_dropped,
]


@pytest.mark.parametrize("kernel", _WRONG)
def test_a_wrong_kernel_is_caught_forward(kernel):
  for seed in range(3):
    verdict = _forward(jax.jit(kernel), _inputs(), seed=seed)
    assert verdict.status == "wrong"
    assert verdict.relative > 10 * verdict.tolerance
    assert "relative error" in verdict.reason


@pytest.mark.parametrize("kernel", _WRONG)
def test_a_wrong_kernel_has_wrong_gradients(kernel):
  verdict = _backward(kernel, _inputs())
  assert verdict.status == "wrong"
  assert verdict.relative > 10 * verdict.tolerance


def _set(place, index, value):
  def change(gradients, drawn):
    where = (drawn.batch, index, drawn.head)
    gradients[place][where] = value(gradients[place][where])

  return change


def _other_head(gradients, drawn):
  gradients[1][drawn.batch, 0, (drawn.head + 1) % 4] += 1e-2


def _beyond_rows(gradients, drawn):
  rest = np.setdiff1d(np.arange(_LENGTH), drawn.rows)
  gradients[0][drawn.batch, rest, drawn.head] += 1e-3


@pytest.mark.parametrize(
    "change",
    [
        _set(0, slice(None), lambda g: g * 1.001),
        _set(1, slice(None), lambda g: g * 1.001),
        _set(2, slice(None), lambda g: g * 1.001),
        _set(0, slice(None), lambda g: -g),
        _set(1, slice(None), lambda g: np.roll(g, 1, axis=0)),
        _set(2, slice(None), np.zeros_like),
        _set(2, 0, lambda g: g + 0.1),
        _other_head,
        _beyond_rows,
    ],
)
def test_one_wrong_gradient_is_caught(change):
  verdict = _backward(_right(), _inputs(), change=change)
  assert verdict.status == "wrong"


def test_a_gradient_that_ignores_the_normaliser_is_caught():
  @jax.custom_vjp
  def kernel(q, k, v):
    return _right()(q, k, v)

  def back(inputs, cotangent):
    dq, dk, dv = jax.vjp(_right(), *inputs)[1](cotangent)
    return dq, dk + 1e-3 * jnp.abs(dk), dv

  kernel.defvjp(lambda *inputs: (kernel(*inputs), inputs), back)
  assert _forward(kernel, _inputs()).status == "ok"
  assert _backward(kernel, _inputs()).status == "wrong"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_is_caught_anywhere(value):
  inputs = _inputs()
  out = np.array(_right()(*inputs))
  rows = differences.probe(inputs, causal=True, seed=0).rows
  quiet = np.setdiff1d(np.arange(_LENGTH), rows)[0]
  out[1, quiet, 2, 3] = value
  verdict = error.check_forward(
      out, inputs, naive.reference, causal=True, seed=0
  )
  assert verdict.status == "not_finite"
  assert verdict.relative is None
  assert verdict.reason == f"out: 1 of {out.size} values are not finite"


def test_one_gradient_that_is_not_finite_is_caught():
  change = _set(1, 7, lambda g: g * np.nan)
  verdict = _backward(_right(), _inputs(), change=change)
  assert verdict.status == "not_finite"
  assert verdict.reason.startswith("dk:")


def test_late_rows_that_are_wrong_are_caught():
  inputs = _inputs("bfloat16")
  out = np.array(jax.jit(_right())(*inputs)).astype(np.float32)
  out[:, 150:] *= 1.2
  verdict = error.check_forward(
      out, inputs, naive.reference, causal=True, seed=0
  )
  assert verdict.status == "wrong" and verdict.relative > 0.05


@pytest.mark.parametrize("shape", [(2, 400, 4, 8), (2, 200, 4), (1, 200, 4, 8)])
def test_an_output_of_another_shape_is_wrong(shape):
  verdict = error.check_forward(
      np.zeros(shape), _inputs(), naive.reference, causal=True, seed=0
  )
  assert verdict.status == "wrong" and str(shape) in verdict.reason


def test_rows_are_spread_over_heads_and_hold_the_first_and_the_last():
  inputs = _inputs(length=1000)
  seen = []

  def reference(q, k, v, rows, *, causal):
    head = [
        (b, h)
        for b in range(2)
        for h in range(4)
        if np.array_equal(q, inputs.q[b, :, h].astype(np.float64))
    ]
    seen.append((head[0], rows))
    return naive.reference(q, k, v, rows, causal=causal)

  out = np.asarray(jax.jit(_right())(*inputs))
  error.check_forward(out, inputs, reference, causal=True, seed=0)
  heads = {head for head, _ in seen}
  assert len(heads) == 4
  assert sum(len(rows) for _, rows in seen) == samples.ROWS
  assert all(rows[0] == 0 and rows[-1] == 999 for _, rows in seen)


def test_the_definition_is_evaluated_in_bounded_groups_of_rows(monkeypatch):
  monkeypatch.setattr(samples, "_ENTRIES", 10 * _LENGTH)
  sizes = []

  def reference(q, k, v, rows, *, causal):
    sizes.append(len(rows))
    return naive.reference(q, k, v, rows, causal=causal)

  inputs = _inputs()
  out = np.asarray(_right()(*inputs))
  verdict = error.check_forward(out, inputs, reference, causal=True, seed=0)
  assert verdict.status == "ok"
  assert max(sizes) <= 10 and sum(sizes) == samples.ROWS


def test_a_relative_error_of_zero_against_zero_is_zero():
  zero = np.zeros(3)
  assert samples.relative_rms(zero, zero) == 0
  assert samples.relative_rms(zero + 1, zero) > 1
