"""The gate every timing passes: is the compiled function right?

Forward, 64 seeded query rows are recomputed in float64 from the definition.
Backward, the gradients for a cotangent on rows of one head are applied to
random directions and compared with central differences of the definition,

  <dL/dx, u> = (L(x + h u) - L(x - h u)) / 2h + O(h^2),   L = sum(cotangent out)

for x in q, k, v and the gates. A causal mechanism's rows lie in a prefix of at
most 2,048 tokens, which is all the definition then has to be evaluated on; the
compiled function runs at full length all the same, and beyond the prefix, and
in every other head, its gradients must vanish.
"""

from typing import Any, Callable, Mapping, NamedTuple, Sequence

import numpy as np

from lalm.measure import gradients as differences
from lalm.measure import samples
from lalm.measure import tolerances


class Verdict(NamedTuple):
  """What the gate found.

  Attributes:
    status: "ok", "wrong" or "not_finite".
    kind: the comparison that decided: "rows", "directional", or "scores" of a
      model's.
    relative: root mean square error over that of the definition; None where it
      is not finite.
    tolerance: the largest `relative` that is ok.
    reason: one line where the status is not ok.
  """

  status: str
  kind: str
  relative: float | None
  tolerance: float
  reason: str = ""


def verdict(kind: str, relative: float, tolerance: float) -> Verdict:
  """Returns what a relative error comes to, beside its tolerance."""
  if relative <= tolerance:
    return Verdict("ok", kind, relative, tolerance)
  reason = f"{kind}: relative error {relative:.2e}, tolerance {tolerance:.2e}"
  finite = relative if np.isfinite(relative) else None
  return Verdict("wrong", kind, finite, tolerance, reason)


def _not_finite(
    arrays: dict[str, np.ndarray], kind: str, tolerance: float
) -> Verdict | None:
  """A verdict naming the first array with a value that is not finite."""
  for name, array in arrays.items():
    bad = array.size - np.count_nonzero(np.isfinite(array))
    if bad:
      reason = f"{name}: {bad} of {array.size} values are not finite"
      return Verdict("not_finite", kind, None, tolerance, reason)
  return None


def check(
    call: Callable[[np.ndarray | None], Sequence[np.ndarray]],
    inputs: Sequence[np.ndarray],
    reference: samples.Reference,
    *,
    backward: bool,
    causal: bool,
    seed: int | Sequence[int],
    device: str,
    ours: bool = False,
    layouts: Mapping[str, str] = samples.LAYOUTS,
) -> Verdict:
  """The gate: calls what will be timed once and compares what it returns.

  Args:
    call: from None to [out]; if `backward`, from a cotangent of the output to
      [out, dq, dk, dv, ...].
    inputs: q, k, v and the gates that it uses.
    reference: the definition's rows of one head.
    backward: whether gradients are to be checked too.
    causal: whether query t sees the keys up to t only.
    seed: of rows, heads, cotangent and directions.
    device: `jax.default_backend()`, or "cpu" for another library there.
    ours: whether the function is this library's form (`tolerances`).
    layouts: name -> letters of the axes, as "BTG", of each of `inputs`.
  """
  drawn = None
  if backward:
    drawn = differences.probe(inputs, causal=causal, seed=seed)
  out, *gradients = call(drawn.cotangent if drawn else None)
  common: dict[str, Any] = {"causal": causal, "seed": seed, "device": device}
  common |= {"ours": ours, "layouts": layouts}
  forward = check_forward(out, inputs, reference, **common)
  if drawn is None or forward.status != "ok":
    return forward
  return check_backward(gradients, inputs, drawn, reference, **common)


def check_forward(
    out: np.ndarray,
    inputs: Sequence[np.ndarray],
    reference: samples.Reference,
    *,
    causal: bool,
    seed: int | Sequence[int],
    device: str = "cpu",
    ours: bool = False,
    layouts: Mapping[str, str] = samples.LAYOUTS,
    rows: np.ndarray | None = None,
) -> Verdict:
  """Compares rows of an output with the definition in float64.

  Args:
    out: [B, T, H, V], all of which must be finite; [B, R, H, V] of `rows`.
    inputs: q [B, T, H, K], k [B, S, G, K] or [B, S, r, G, K], v as k and the
      gates as they were given.
    reference: the definition's rows of one head.
    causal: whether query t sees the keys up to t only.
    seed: of the rows and heads.
    device: `jax.default_backend()` of the function.
    ours: as in `check`.
    layouts: name -> letters of the axes of each of `inputs`.
    rows: [R] positions of the only queries that were computed, in which case
      one head is compared.

  Returns:
    The verdict on those rows; else on 64, or on all where there are fewer.
  """
  q, k, v = inputs[:3]
  tolerance = tolerances.forward(q.dtype.name, k.shape[1], device, ours=ours)
  bad = _not_finite({"out": out}, "rows", tolerance)
  if bad:
    return bad
  queries = q.shape[1] if rows is None else len(rows)
  expected_shape = (q.shape[0], queries, q.shape[2], v.shape[-1])
  if out.shape != expected_shape:
    reason = f"out: expected shape {expected_shape}, got {out.shape}"
    return Verdict("wrong", "rows", None, tolerance, reason)
  drawn = samples.sample(
      out,
      inputs,
      reference,
      causal=causal,
      seed=seed,
      layouts=layouts,
      rows=rows,
  )
  relative = float(np.maximum(drawn.early, drawn.late / 2))
  return verdict("rows", relative, tolerance)


def check_backward(
    gradients: Sequence[np.ndarray],
    inputs: Sequence[np.ndarray],
    drawn: differences.Probe,
    reference: samples.Reference,
    *,
    causal: bool,
    seed: int | Sequence[int],
    device: str = "cpu",
    ours: bool = False,
    layouts: Mapping[str, str] = samples.LAYOUTS,
) -> Verdict:
  """Compares gradients for a probe with central differences in float64.

  Args:
    gradients: dq, dk, dv and those of the gates, but for integers, which come
      last, for the probe's cotangent.
    inputs: q, k, v and the gates they were taken at.
    drawn: from `gradients.probe`.
    reference: the definition's rows of one head.
    causal: as given to the function.
    seed: of the directions.
    device: `jax.default_backend()` of the function.
    ours: as in `check`.
    layouts: name -> letters of the axes of each of `inputs`.

  Returns:
    The verdict on the largest of the errors of the gradients, each relative to
    its norm, and of what should vanish and does not.
  """
  name, kind = inputs[0].dtype.name, "directional"
  tolerance = tolerances.directional(name, drawn.length, device, ours=ours)
  named = {f"d{x}": array for x, array in zip(layouts, gradients)}
  bad = _not_finite(named, kind, tolerance)
  if bad:
    return bad
  common: Any = {"causal": causal, "seed": seed, "layouts": layouts}
  worst = differences.worst(gradients, inputs, drawn, reference, **common)
  return verdict(kind, worst, tolerance)
