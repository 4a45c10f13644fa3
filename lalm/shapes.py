"""Checks of shapes, dtypes and ranges; each error says expected and got."""

from collections.abc import Mapping
import numbers
from typing import Any

import numpy as np


def check_array(name: str, x: Any, layout: str) -> None:
  """Raises ValueError unless `x` is a floating array with `layout`'s rank.

  Numbers of less than 16 bits are not promoted to others implicitly: they are
  for the caller to widen.

  Args:
    name: the argument's name, for the message.
    x: array to check.
    layout: one letter an axis, "BTHK" for `[B, T, H, K]`.
  """
  shape, dtype = getattr(x, "shape", None), getattr(x, "dtype", None)
  axes = f"[{', '.join(layout)}]"
  if shape is None or dtype is None:
    raise ValueError(f"{name}: expected an array {axes}, got {type(x)}")
  if len(shape) != len(layout):
    raise ValueError(f"{name}: expected rank {len(layout)} {axes}, got {shape}")
  # ml_dtypes' bfloat16 is not a subtype of np.floating, but says its kind.
  if np.dtype(dtype).kind != "f" and "float" not in np.dtype(dtype).name:
    raise ValueError(f"{name}: expected a floating dtype, got {dtype}")
  if np.dtype(dtype).itemsize < 2:
    raise ValueError(
        f"{name}: expected a floating dtype of 16 bits or more, got {dtype}"
    )


def check_axes(axes: Mapping[str, tuple[Any, str]]) -> dict[str, int]:
  """Returns the length of each axis letter, equal wherever it appears.

  Args:
    axes: argument name -> (array, layout), as in `check_array`.

  Returns:
    axis letter -> length.

  Raises:
    ValueError: a rank, a dtype or an axis that does not match, or an empty
      axis.
  """
  seen: dict[str, tuple[int, str]] = {}
  for name, (x, layout) in axes.items():
    check_array(name, x, layout)
    for letter, size in zip(layout, x.shape):
      if letter not in seen:
        seen[letter] = (size, name)
      elif seen[letter][0] != size:
        raise ValueError(
            f"{name}: expected axis {letter} = {seen[letter][0]} as in"
            f" {seen[letter][1]}, got {size} in shape {tuple(x.shape)}"
        )
  for letter, (size, name) in seen.items():
    if size < 1:
      raise ValueError(f"{name}: expected axis {letter} >= 1, got 0")
  return {letter: size for letter, (size, _) in seen.items()}


def check_qkv(q: Any, k: Any, v: Any, several: bool = False) -> dict[str, int]:
  """Returns axis lengths of q `[B,T,H,K]`, k `[B,S,G,K]`, v `[B,S,G,V]`.

  G is the number of key/value heads and divides H (grouped heads).

  Args:
    q: queries.
    k: keys.
    v: values.
    several: whether a token has r keys and values, `[B,S,r,G,...]`.

  Raises:
    ValueError: a rank, dtype or axis that does not match, or an empty axis.
  """
  r = "r" if several else ""
  layouts = {"q": (q, "BTHK"), "k": (k, f"BS{r}GK"), "v": (v, f"BS{r}GV")}
  sizes = check_axes(layouts)
  if sizes["H"] % sizes["G"]:
    raise ValueError(
        "k: expected a number of heads that divides q's"
        f" {sizes['H']}, got {sizes['G']}"
    )
  return sizes


def check_own_keys(sizes: Mapping[str, int]) -> None:
  """Raises ValueError unless keys are of the queries' tokens, S = T.

  Args:
    sizes: axis letter -> length, as `check_qkv` returns them.
  """
  if sizes["S"] != sizes["T"]:
    raise ValueError(
        f"k: expected as many keys as queries, T = {sizes['T']}, got S ="
        f" {sizes['S']}"
    )


def check_positive(name: str, value: Any) -> None:
  """Raises ValueError unless `value` is an integer from 1 that int32 holds."""
  if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
    raise ValueError(f"{name}: expected an integer >= 1, got {value!r}")
  if not 1 <= value < 2**31:
    least = ">= 1" if value < 1 else "< 2^31"
    raise ValueError(f"{name}: expected an integer {least}, got {value}")


def check_one_token(q: Any, k: Any) -> None:
  """Raises ValueError unless q and k hold one token each, T = S = 1."""
  for name, x in (("q", q), ("k", k)):
    shape: tuple[int, ...] = getattr(x, "shape", ())
    if len(shape) == 4 and shape[1] != 1:
      raise ValueError(f"{name}: expected one token, T = 1, got {shape[1]}")


def check_integers(name: str, x: Any, shape: tuple[int, ...]) -> None:
  """Raises ValueError unless `x` is an array of integers of this shape."""
  dtype = getattr(x, "dtype", None)
  if dtype is None or np.dtype(dtype).kind not in "iu":
    raise ValueError(
        f"{name}: expected an integer dtype, got {dtype or type(x)}"
    )
  if tuple(x.shape) != shape:
    raise ValueError(f"{name}: expected shape {shape}, got {tuple(x.shape)}")


def check_scalar(name: str, x: Any) -> None:
  """Raises ValueError unless `x` is a real number of rank 0, or None."""
  if x is None:
    return
  if not hasattr(x, "dtype") and not isinstance(x, numbers.Number):
    raise ValueError(f"{name}: expected a number, got {type(x)}")
  if np.ndim(x) != 0:
    raise ValueError(f"{name}: expected a number, got shape {np.shape(x)}")
  dtype = np.dtype(getattr(x, "dtype", None) or np.asarray(x).dtype)
  if dtype.kind not in "iuf" and "float" not in dtype.name:
    raise ValueError(f"{name}: expected a real number, got {dtype}")


def check_gate(
    name: str, x: Any, sizes: Mapping[str, int], layouts: tuple[str, ...]
) -> None:
  """Raises ValueError unless a gate has one of its layouts.

  Args:
    name: the gate's keyword.
    x: the array to check.
    sizes: axis letter -> length, as `check_qkv` returns them.
    layouts: a letter an axis, "BTG" for `[B, T, G]`.
  """
  shape = getattr(x, "shape", None)
  wanted = [tuple(sizes[letter] for letter in layout) for layout in layouts]
  if shape is None or tuple(shape) not in wanted:
    axes = " or ".join(
        f"[{', '.join(layout)}] = {size}"
        for layout, size in zip(layouts, wanted)
    )
    got = type(x) if shape is None else tuple(shape)
    raise ValueError(f"{name}: expected {axes}, got {got}")
  check_array(name, x, layouts[wanted.index(tuple(shape))])


def check_state(name: str, got: Any, kind: type) -> None:
  """Raises ValueError unless a state is of a kind."""
  if not isinstance(got, kind):
    raise ValueError(
        f"{name}: expected a {kind.__module__}.{kind.__name__}, got {type(got)}"
    )


def check_like(name: str, got: Any, expected: Any) -> None:
  """Raises ValueError unless a state has the shapes and dtypes of `expected`.

  Args:
    name: the argument's name, for the message.
    got: a NamedTuple of arrays.
    expected: one of the same type, with the right shapes and dtypes.
  """
  check_state(name, got, type(expected))
  for field, want, have in zip(expected._fields, expected, got):
    if not hasattr(have, "shape") or not hasattr(have, "dtype"):
      raise ValueError(f"{name}.{field}: expected an array, got {type(have)}")
    if tuple(have.shape) != tuple(want.shape):
      raise ValueError(
          f"{name}.{field}: expected shape {tuple(want.shape)}, got"
          f" {tuple(have.shape)}"
      )
    if have.dtype != want.dtype:
      raise ValueError(
          f"{name}.{field}: expected {want.dtype} for these inputs, got"
          f" {have.dtype}"
      )
