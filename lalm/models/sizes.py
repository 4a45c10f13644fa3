"""What a model is made of, apart from its parameters."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp

from lalm import shapes
from lalm.attention import catalogue

POSITIONS = ("rotary", "learned", "sinusoidal", "none")
NORMS = ("rms", "layer")
NETWORKS = ("gated", "gelu")
DTYPES = ("float32", "bfloat16", "float16", "float64")


class Mixer(NamedTuple):
  """A mechanism and the form of it that computes whole sequences."""

  mechanism: catalogue.Mechanism
  form: str


def mixer(name: str) -> Mixer:
  """Returns what `linear`, `linear.parallel` or `package.module:NAME` names.

  Raises:
    ValueError: no such mechanism, or no such form of it.
  """
  module, colon, own = str(name).rpartition(":")
  own, _, form = own.partition(".")
  mechanism = catalogue.get(module + colon + own)
  form = form or mechanism.featured[-1]
  if form not in mechanism.forms or form == "step":
    known = ", ".join(f for f in mechanism.forms if f != "step")
    raise ValueError(
        f"form of {mechanism.name}: expected one of {known}, got {form!r}"
    )
  return Mixer(mechanism, form)


@dataclasses.dataclass(frozen=True)
class Sizes:
  """A transformer, as numbers and names.

  Attributes:
    vocabulary: how many tokens there are.
    capacity: most tokens of a context.
    mixers: a name for each layer, as `mixer` reads it.
    width: D, of the residual stream.
    heads: H; each is D / H wide.
    inner: width of a layer's network; 4 D, or the multiple of 32 next to 8 D
      / 3 where it is gated (as many parameters), if 0.
    causal: a decoder; else an encoder, every token of which sees all.
    positions: "rotary" (Su et al. 2021, arXiv 2104.09864; of mixers without a
      decay or a delta rule, which have an order of their own), "learned",
      "sinusoidal" (Vaswani et al. 2017, arXiv 1706.03762, sections 3.4 and
      3.5: added to embeddings times the root of D) or "none".
    norm: "rms" (Zhang and Sennrich 2019, arXiv 1910.07467) or "layer".
    network: "gated" (SwiGLU, Shazeer 2020, arXiv 2002.05202) or "gelu".
    convolution: tokens that a short causal convolution of q, k and v mixes; 0
      is none.
    tied: whether logits are products with the embedding of tokens.
    dtype: of activations; parameters and logits are float32 at least.
  """

  vocabulary: int
  capacity: int
  mixers: tuple[str, ...]
  width: int = 128
  heads: int = 4
  inner: int = 0
  causal: bool = True
  positions: str = "rotary"
  norm: str = "rms"
  network: str = "gated"
  convolution: int = 0
  tied: bool = True
  dtype: str = "float32"

  def __post_init__(self) -> None:
    if isinstance(self.mixers, str) or not self.mixers:
      raise ValueError(
          f"mixers: expected a name for each layer, got {self.mixers!r}"
      )
    object.__setattr__(self, "mixers", tuple(self.mixers))
    for name in ("vocabulary", "capacity", "width", "heads"):
      shapes.check_positive(name, getattr(self, name))
    for name in ("inner", "convolution"):
      if getattr(self, name):
        shapes.check_positive(name, getattr(self, name))
    if self.width % self.heads:
      raise ValueError(
          f"heads: expected a divisor of the width {self.width}, got"
          f" {self.heads}"
      )
    choices: dict[str, tuple[Any, ...]] = {
        "positions": POSITIONS,
        "norm": NORMS,
        "network": NETWORKS,
        "dtype": DTYPES,
        "causal": (True, False),
        "tied": (True, False),
    }
    for name, known in choices.items():
      found = getattr(self, name)
      if not isinstance(found, type(known[0])) or found not in known:
        raise ValueError(
            f"{name}: expected one of {', '.join(map(str, known))}, got"
            f" {found!r}"
        )
    self._check_order()
    if not self.inner:
      object.__setattr__(self, "inner", self._inner())

  def _check_order(self) -> None:
    if self.positions == "rotary" and self.head_width % 2:
      raise ValueError(
          "positions: expected other than rotary for heads of an odd width,"
          f" {self.head_width}, got rotary"
      )
    if self.convolution and not self.causal:
      raise ValueError(
          f"convolution: expected 0 in an encoder, got {self.convolution}"
      )
    for name in self.mixers:
      mechanism = mixer(name).mechanism
      if not (mechanism.causal if self.causal else mechanism.full):
        kind = "causal" if self.causal else "full"
        raise ValueError(
            f"mixers: expected mechanisms that can be {kind}, got {name!r}"
        )

  def _inner(self) -> int:
    if self.network == "gelu":
      return 4 * self.width
    return -(-8 * self.width // 3 // 32) * 32

  @property
  def layers(self) -> int:
    """L."""
    return len(self.mixers)

  @property
  def head_width(self) -> int:
    """K = V."""
    return self.width // self.heads

  @property
  def compute(self) -> Any:
    """The dtype of activations."""
    return jnp.dtype(self.dtype)

  def plain(self) -> dict[str, Any]:
    """Returns what JSON can hold; `of` reads it."""
    return dataclasses.asdict(self) | {"mixers": list(self.mixers)}


def of(plain: Mapping[str, Any]) -> Sizes:
  """Returns the sizes that `Sizes.plain` has written.

  Raises:
    ValueError: an unknown field, or a value that a model cannot have.
  """
  known = [field.name for field in dataclasses.fields(Sizes)]
  unknown = [name for name in plain if name not in known]
  if unknown:
    raise ValueError(
        f"sizes: expected fields among {', '.join(known)}, got {unknown[0]!r}"
    )
  return Sizes(**{**plain, "mixers": tuple(plain["mixers"])})
