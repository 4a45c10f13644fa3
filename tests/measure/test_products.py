"""Products are of the kind of their operands and of their precision."""

import jax
from jax import lax
import jax.numpy as jnp
import pytest

from lalm.measure import operations
from lalm.measure import kinds

_DOT = 2 * 16**3
_PRESET = lax.DotAlgorithmPreset


def _dot(precision):
  return lambda x, y: lax.dot(x, y, precision=precision)


def _scanned(x, y):
  exact = jax.jit(_dot(lax.Precision.HIGHEST))
  return lax.scan(lambda c, _: (exact(c, y), None), x, length=3)[0]


@pytest.mark.parametrize(
    ("function", "dtypes", "expected"),
    [
        (_dot(None), ("bfloat16",) * 2, {"bfloat16": _DOT}),
        (_dot(None), ("float32",) * 2, {kinds.FAST: _DOT}),
        (_dot("high"), ("float32",) * 2, {kinds.HIGH: _DOT}),
        (_dot("highest"), ("float32",) * 2, {"float32": _DOT}),
        (_dot("highest"), ("float16",) * 2, {"float16": _DOT}),
        (_dot(("default", "highest")), ("float32",) * 2, {"float32": _DOT}),
        (_dot(_PRESET.BF16_BF16_F32), ("float32",) * 2, {"bfloat16": _DOT}),
        (_dot(_PRESET.TF32_TF32_F32), ("float32",) * 2, {kinds.FAST: _DOT}),
        (
            _dot(_PRESET.BF16_BF16_F32_X3),
            ("float32",) * 2,
            {"BF16_BF16_F32_X3": _DOT},
        ),
        (_dot(None), ("bfloat16", "float32"), {kinds.FAST: _DOT}),
        (_scanned, ("float32",) * 2, {"float32": 3 * _DOT}),
        (
            lambda x, y: _scanned(_dot(None)(x, y), y),
            ("float32",) * 2,
            {kinds.FAST: _DOT, "float32": 3 * _DOT},
        ),
        (lambda x, y: x + y, ("float32",) * 2, {}),
    ],
)
def test_products_count_by_their_kind(function, dtypes, expected):
  given = [jax.ShapeDtypeStruct((16, 16), dtype) for dtype in dtypes]
  found = operations.count(function, *given)
  assert found.kinds == expected
  assert found.products == sum(expected.values())


def test_of_platforms_only_the_branch_asked_for_counts():
  fast = lambda x: jnp.dot(x.astype("bfloat16"), x.astype("bfloat16"))
  exact = lambda x: _dot("highest")(x, x).astype("bfloat16")
  both = lambda x: lax.platform_dependent(x, tpu=fast, default=exact)
  x = jax.ShapeDtypeStruct((16, 16), jnp.float32)
  count = lambda platform: operations.count(both, x, platform=platform).kinds
  assert count("tpu") == {"bfloat16": _DOT}
  assert count("cuda") == {"float32": _DOT}
