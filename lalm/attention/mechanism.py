"""What a mechanism is: its forms, gates, costs and what they must equal."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lalm import shapes
from lalm.attention import contract
from lalm.attention import costs
from lalm.attention import tuning


class Gate(NamedTuple):
  """An input besides q, k and v.

  Attributes:
    shape: layout, as "BTG".
    low: least value that has a meaning.
    high: greatest one.
    neutral: value that gives the simpler mechanism.
    drawn: least and greatest value of random inputs.
    whole: whether its numbers are integers.
  """

  shape: str
  low: float
  high: float
  neutral: float
  drawn: tuple[float, float]
  whole: bool = False

  def random(self, key: jax.Array, shape: Any, dtype: Any) -> jax.Array:
    """Returns random values as `drawn` says, of dtype if not whole."""
    if self.whole:
      least, greatest = map(int, self.drawn)
      return jax.random.randint(key, shape, least, greatest + 1)
    return jax.random.uniform(key, shape, dtype, *self.drawn)


@dataclasses.dataclass(frozen=True)
class Mechanism:
  """A kind of attention and the ways to compute it.

  Attributes:
    name: in the catalogue.
    definition: the form all others must equal.
    forms: form name -> function, called as `form(q, k, v, **gates)`.
    paper: author, year, arXiv id, equation.
    featured: forms swept unless others are asked for; all but "step" if empty.
    laws: form name -> closed-form cost.
    gates: keyword -> what it is; whole ones come last.
    axes: T -> letter -> length, of axes that its gates alone have.
    transition: structure of A_t (`transitions`, equation 1), or what there is
      instead.
    features: K -> F, the width of the state.
    maps: K -> multiplications that make the features of one query or key.
    causal: whether `causal=True` is possible.
    full: whether `causal=False` is possible.
    cross: whether full attention takes other keys than those of its tokens.
    start: returns the state before the first token, or None without a state.
    writes: keys and values a token in random inputs, on an axis r of theirs;
      None where they have no such axis.
    rows: `reference`, or None to derive it from the definition.
    apply: `matrix`, or None to derive it from the definition.
  """

  name: str
  definition: contract.Form
  forms: Mapping[str, contract.Form]
  paper: str = ""
  featured: tuple[str, ...] = ()
  laws: Mapping[str, Callable[..., costs.Cost]] = dataclasses.field(
      default_factory=dict
  )
  gates: Mapping[str, Gate] = dataclasses.field(default_factory=dict)
  axes: Callable[[int], Mapping[str, int]] = lambda length: {}
  transition: str = ""
  features: Callable[[int], int] = lambda width: width
  maps: Callable[[int], int] = lambda width: 0
  causal: bool = True
  full: bool = True
  cross: bool = True
  start: Callable[..., Any] | None = None
  writes: int | None = None
  rows: Callable[..., np.ndarray] | None = None
  apply: Callable[..., jax.Array] | None = None

  def __post_init__(self) -> None:
    if not self.forms:
      raise ValueError(f"forms of {self.name}: expected at least one, got none")
    whole = [gate.whole for gate in self.gates.values()]
    if whole != sorted(whole):
      raise ValueError(
          f"gates of {self.name}: expected whole ones last, got"
          f" {', '.join(self.gates)}"
      )
    if not self.featured:
      swept = tuple(form for form in self.forms if form != "step")
      object.__setattr__(self, "featured", swept)
    for form in self.featured:
      if form not in self.forms:
        raise ValueError(
            f"featured of {self.name}: expected some of"
            f" {', '.join(self.forms)}, got {form!r}"
        )

  @property
  def layouts(self) -> dict[str, str]:
    """Letters of the axes of q, k, v and the gates, for T = S."""
    r = "" if self.writes is None else "r"
    arrays = {"q": "BTHK", "k": f"BT{r}GK", "v": f"BT{r}GV"}
    return arrays | {name: gate.shape for name, gate in self.gates.items()}

  def inputs(
      self,
      key: jax.Array,
      *,
      batch: int = 1,
      length: int = 128,
      heads: int = 2,
      width: int = 16,
      value_width: int | None = None,
      dtype: Any = jnp.float32,
      capacity: int | None = None,
  ) -> tuple[tuple[jax.Array, jax.Array, jax.Array], dict[str, jax.Array]]:
    """Returns valid random `(q, k, v), gates`.

    Args:
      key: a `jax.random.key`.
      batch: B.
      length: T = S.
      heads: H = G.
      width: K.
      value_width: V, K if None.
      dtype: of q, k, v and the gates.
      capacity: most tokens of a document, T if None; for gates of levels.
    """
    value_width = width if value_width is None else value_width
    sizes = dict(B=batch, T=length, H=heads, G=heads, K=width, V=value_width)
    sizes["r"] = self.writes or 1
    sizes |= self.axes(capacity or length)
    keys = jax.random.split(key, 3 + len(self.gates))
    normal = lambda key, layout: jax.random.normal(
        key, [sizes[letter] for letter in layout], dtype
    )
    q, k, v = map(normal, keys[:3], self.layouts.values())
    gates = {
        name: gate.random(key, [sizes[axis] for axis in gate.shape], dtype)
        for key, (name, gate) in zip(keys[3:], self.gates.items())
    }
    return (q, k, v), gates

  def cost(
      self,
      form: str,
      *,
      pass_: str = "forward",
      batch: int = 1,
      length: int,
      heads: int,
      width: int,
      value_width: int,
      causal: bool = True,
      chunk: int | None = None,
      dtype: Any = "float32",
      platform: str = "cpu",
      **own: int,
  ) -> costs.Cost | None:
    """Returns the closed-form cost of a call, or None where none is known.

    It is of the program that returns `out` alone, which leaves out what is made
    for a later call's state.

    Args:
      form: a name in `forms`.
      pass_: "forward", or "forward_backward" for out and the gradients of q,
        k, v and the gates.
      batch: B.
      length: T = S; for `step` the capacity of its cache.
      heads: H = G.
      width: K.
      value_width: V.
      causal: as in the form.
      chunk: as in the form.
      dtype: of q, k and v.
      platform: of XLA, whose chunks count where none is given (`tuning`).
      **own: the mechanism's own sizes, as `window`, where they are not its own
        default.

    Raises:
      ValueError: an unknown form or pass, a size below 1, or full attention of
        a mechanism that has none.
    """
    if form not in self.forms:
      raise ValueError(
          f"form: expected one of {', '.join(self.forms)}, got {form!r}"
      )
    if pass_ not in ("forward", "forward_backward"):
      raise ValueError(
          f"pass_: expected forward or forward_backward, got {pass_!r}"
      )
    sizes = (batch, length, heads, width, value_width)
    names = ("batch", "length", "heads", "width", "value_width")
    for name, size in zip(names, sizes, strict=True):
      shapes.check_positive(name, size)
    if not causal and not self.full:
      raise ValueError(f"causal: expected True for {self.name}, got {causal}")
    if form not in self.laws:
      return None
    itemsize = jnp.dtype(dtype).itemsize
    gradient = pass_ == "forward_backward"
    if chunk is None and causal:
      chunk = self._tuned(form, platform, itemsize, width, own)
    given = costs.Sizes(
        *sizes,
        causal,
        chunk,
        itemsize,
        gradient,
        self.features(width),
        self.maps(width),
    )
    return self.laws[form](given, **own)

  def _tuned(
      self,
      form: str,
      platform: str,
      itemsize: int,
      width: int,
      own: Mapping[str, int],
  ) -> int | None:
    """Tokens a chunk that the platform has in the table of `tuning`."""
    name = getattr(self.forms[form], "tuned_as", "")
    found = tuning.size(name, platform, itemsize, width)
    return found and tuning.fitted(found, self.writes, own.get("window"))

  def init(self, *sizes: int, **keywords: Any) -> Any:
    """Returns the state before the first token.

    Called as `init(batch, heads, width, value_width, *, capacity, dtype)`.

    Raises:
      ValueError: the mechanism has no state.
    """
    if self.start is None:
      raise ValueError(f"init: {self.name} has no state")
    return self.start(*sizes, **keywords)

  def matrix(self, q: jax.Array, k: jax.Array, **gates: Any) -> jax.Array:
    """Returns the matrix applied to v, `[B, H, T, S]`.

    Args:
      q: queries `[B, T, H, K]`.
      k: keys `[B, S, G, K]`.
      **gates: keywords of the definition.
    """
    if self.apply is not None:
      return self.apply(q, k, **gates)
    out = self.definition(q, k, contract.identity_values(k), **gates)
    return jnp.swapaxes(_array(out), 1, 2)

  def reference(
      self,
      q: np.ndarray,
      k: np.ndarray,
      v: np.ndarray,
      rows: np.ndarray,
      *,
      causal: bool,
      **gates: np.ndarray,
  ) -> np.ndarray:
    """Returns some rows of the output of one head, in float64.

    Args:
      q: `[T, K]`.
      k: `[S, K]`, or `[S, r, K]`.
      v: `[S, V]`, or `[S, r, V]`.
      rows: `[R]` positions of queries.
      causal: as in the forms.
      **gates: of this head, `[T]` where the gate is `[B, T, G]`.

    Returns:
      `[R, V]` float64.
    """
    arrays = {"q": q, "k": k, "v": v, **gates}
    whole = [name for name, gate in self.gates.items() if gate.whole]
    arrays = {
        name: np.asarray(x, None if name in whole else np.float64)
        for name, x in arrays.items()
    }
    rows = np.asarray(rows)
    if self.rows is not None:
      q, k, v = (arrays.pop(name) for name in "qkv")
      return self.rows(q, k, v, rows, causal=causal, **arrays)
    return self._rows_of_definition(arrays, rows, causal)

  def _rows_of_definition(
      self, arrays: dict[str, np.ndarray], rows: np.ndarray, causal: bool
  ) -> np.ndarray:
    layouts = self.layouts
    # A causal row depends on nothing after it; a full one on no other query.
    if causal:
      seen = slice(int(np.max(rows)) + 1)
      arrays = {
          name: x[seen] if "T" in layouts[name] else x
          for name, x in arrays.items()
      }
    else:
      arrays, rows = {**arrays, "q": arrays["q"][rows]}, np.arange(len(rows))
    with jax.enable_x64(True):
      given = {}
      for name, x in arrays.items():
        alone = [i for i, axis in enumerate(layouts[name]) if axis in "BHG"]
        given[name] = jnp.asarray(np.expand_dims(x, tuple(alone)))
      q, k, v = (given.pop(name) for name in "qkv")
      out = self.definition(q, k, v, **given, causal=causal)
      return np.asarray(_array(out), np.float64)[0, rows, 0]


def _array(result: Any) -> Any:
  # A mechanism of one's own may return the array alone.
  return getattr(result, "out", result)
