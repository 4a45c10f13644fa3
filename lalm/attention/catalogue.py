"""The one registry of mechanisms: name -> definition, forms, cost, paper.

Everything that runs over "all mechanisms" (tests, sweeps, tables) reads this
list; a mechanism joins by being in it. A mechanism of one's own is the same
object in one's own module, named "package.module:NAME".
"""

from collections.abc import Callable
import functools
import importlib
import math
from typing import Any

from lalm.attention import costs
from lalm.attention import delta
from lalm.attention import dplr
from lalm.attention import features
from lalm.attention import gated
from lalm.attention import gated_costs
from lalm.attention import linear
from lalm.attention import mlstm
from lalm.attention import reference
from lalm.attention import softmax
from lalm.attention import stand_ins
from lalm.attention import variants
from lalm.attention.mechanism import Gate
from lalm.attention.mechanism import Mechanism

_Cost = gated_costs.Family

_LOG_DECAY = Gate("BTG", -math.inf, 0.0, 0.0, (-1.0, 0.0))
_LOG_DECAY_OF_HEADS = Gate("G", -math.inf, 0.0, 0.0, (-0.5, -0.01))
_LOG_DECAYS = _LOG_DECAY._replace(shape="BTGK")
_BETA = Gate("BTG", 0.0, 1.0, 1.0, (0.0, 1.0))
_BETAS = Gate("BTrG", 0.0, 2.0, 0.0, (0.0, 2.0))
_BONUS = Gate("GK", -math.inf, math.inf, 1.0, (-1.0, 1.0))
_LOG_INPUT = Gate("BTG", -math.inf, math.inf, 0.0, (-2.0, 2.0))
_REMOVAL = Gate("BTGK", -math.inf, math.inf, 0.0, (-1.0, 1.0))
_RATE = Gate("BTGK", 0.0, 1.0, 0.0, (0.0, 1.0))


def _family(
    name: str,
    module: Any,
    paper: str,
    transition: str,
    gates: dict[str, Gate],
    cost: gated_costs.Family,
    change: Callable[[Any], Any] = lambda form: form,
    writes: int | None = None,
) -> Mechanism:
  """An entry of a family whose forms are recurrent, chunkwise and step."""
  names = ("recurrent", "chunkwise", "step")
  laws = {
      form: functools.partial(getattr(gated_costs, form), family=cost)
      for form in names
  }
  forms = {form: change(getattr(module, form)) for form in names}
  return Mechanism(
      name=name,
      paper=paper,
      transition=transition,
      gates=gates,
      definition=forms["recurrent"],
      forms=forms,
      featured=("chunkwise",),
      full=False,
      laws=laws,
      start=module.init,
      writes=writes,
  )


def _laws(normalize: bool = True) -> dict[str, Callable[..., costs.Cost]]:
  """Costs of the forms of linear attention."""
  laws = {
      "parallel": costs.linear_parallel,
      "recurrent": costs.linear_recurrent,
      "chunkwise": costs.linear_chunkwise,
      "step": costs.linear_step,
  }
  return {
      form: functools.partial(law, normalize=normalize)
      for form, law in laws.items()
  }


def _features(
    name: str,
    paper: str,
    make: Callable[[int], Any],
    normalize: bool = True,
    maps: Callable[[int], int] = lambda width: 0,
) -> Mechanism:
  """An entry of linear attention with a feature map made for a width."""
  names = ("parallel", "recurrent", "chunkwise", "step")
  change = functools.partial(
      variants.with_features, make=make, normalize=normalize
  )
  forms = {form: change(getattr(linear, form)) for form in names}

  def start(batch: int, heads: int, width: int, *sizes: int, **keywords: Any):
    phi = make(width)
    return linear.init(batch, heads, width, *sizes, feature_map=phi, **keywords)

  return Mechanism(
      name=name,
      paper=paper,
      transition="identity",
      definition=forms["parallel"],
      forms=forms,
      featured=("chunkwise",),
      features=lambda width: features.feature_width(make(width), width),
      maps=maps,
      laws=_laws(normalize),
      start=start,
      rows=functools.partial(
          reference.feature_rows,
          phi=variants.in_float64(make),
          normalize=normalize,
      ),
  )


_MECHANISMS = (
    Mechanism(
        name="softmax",
        transition="none: all keys are kept",
        paper="Vaswani et al. 2017, arXiv 1706.03762, equation 1",
        definition=softmax.parallel,
        forms={
            "parallel": softmax.parallel,
            "blockwise": softmax.blockwise,
            "step": softmax.step,
        },
        featured=("parallel", "blockwise"),
        laws={
            "parallel": costs.softmax_parallel,
            "blockwise": costs.softmax_blockwise,
            "step": costs.softmax_step,
        },
        start=softmax.init,
        rows=reference.softmax_rows,
        apply=softmax.matrix,
    ),
    Mechanism(
        name="linear",
        transition="identity",
        paper="Katharopoulos et al. 2020, arXiv 2006.16236, equations 8 to 12",
        definition=linear.parallel,
        forms={
            "parallel": linear.parallel,
            "recurrent": linear.recurrent,
            "chunkwise": linear.chunkwise,
            "step": linear.step,
        },
        featured=("chunkwise",),
        laws=_laws(),
        start=linear.init,
        rows=reference.linear_rows,
        apply=linear.matrix,
    ),
    _features(
        "performer",
        "Choromanski et al. 2020, arXiv 2009.14794, equations 5 and 7",
        variants.performer_features,
        maps=lambda width: 4 * width * width,
    ),
    _features(
        "based",
        "Arora et al. 2024, arXiv 2402.18668, equation 4",
        lambda width: features.taylor,
    ),
    _features(
        "dpfp",
        "Schlag et al. 2021, arXiv 2102.11174, equation 37",
        lambda width: variants.DPFP,
    ),
    _features(
        "hedgehog",
        "Zhang et al. 2024, arXiv 2402.04347",
        variants.hedgehog_features,
        maps=lambda width: width * width,
    ),
    _features(
        "cosine",
        "Mongaras et al. 2024, arXiv 2409.18747, equation 3",
        lambda width: features.unit,
        normalize=False,
    ),
    _family(
        "retnet",
        gated,
        "Sun et al. 2023, arXiv 2307.08621, equation 6",
        "scalar",
        {"log_decay": _LOG_DECAY_OF_HEADS},
        _Cost("scalar"),
        variants.retnet,
    ),
    _family(
        "lightning",
        gated,
        "Qin et al. 2024, arXiv 2401.04658",
        "scalar",
        {"log_decay": _LOG_DECAY_OF_HEADS},
        _Cost("scalar"),
        variants.lightning,
    ),
    _family(
        "mamba2",
        gated,
        "Dao and Gu 2024, arXiv 2405.21060, equation 2",
        "scalar",
        {"log_decay": _LOG_DECAY},
        _Cost("scalar"),
    ),
    _family(
        "mlstm",
        mlstm,
        "Beck et al. 2024, arXiv 2405.04517, equations 19 to 27",
        "scalar",
        {"log_decay": _LOG_DECAY, "log_input": _LOG_INPUT},
        _Cost("scalar", normalised=True),
    ),
    _family(
        "gla",
        gated,
        "Yang et al. 2023, arXiv 2312.06635, equation 3",
        "vector",
        {"log_decay": _LOG_DECAYS},
        _Cost("vector"),
    ),
    _family(
        "hgrn2",
        gated,
        "Qin et al. 2024, arXiv 2404.07904",
        "vector",
        {},
        _Cost("vector"),
        variants.hgrn2,
    ),
    _family(
        "rwkv6",
        gated,
        "Peng et al. 2024, arXiv 2404.05892, equations 19 to 22",
        "vector",
        {"log_decay": _LOG_DECAYS, "bonus": _BONUS},
        _Cost("vector", bonus=True),
    ),
    _family(
        "deltanet",
        delta,
        "Yang et al. 2024, arXiv 2406.06484",
        "identity plus rank one",
        {"beta": _BETA},
        _Cost(rank="delta"),
    ),
    _family(
        "gated_deltanet",
        delta,
        "Yang et al. 2024, arXiv 2412.06464, equation 10",
        "scalar, identity plus rank one",
        {"beta": _BETA, "log_decay": _LOG_DECAY},
        _Cost("scalar", rank="delta"),
    ),
    _family(
        "kda",
        delta,
        "Kimi Team 2025, arXiv 2510.26692, equation 1",
        "vector, identity plus rank one",
        {"beta": _BETA, "log_decay": _LOG_DECAYS},
        _Cost("vector", rank="delta"),
    ),
    _family(
        "deltaproduct",
        delta,
        "Siems et al. 2025, arXiv 2502.10297, equations 3 and 4",
        "products of identity plus rank one",
        {"beta": _BETAS},
        _Cost(rank="delta", writes=2),
        writes=2,
    ),
    _family(
        "rwkv7",
        dplr,
        "Peng et al. 2025, arXiv 2503.14456, equations 15 to 17",
        "vector plus rank one",
        {"log_decay": _LOG_DECAYS, "removal": _REMOVAL, "rate": _RATE},
        _Cost("vector", rank="pair"),
    ),
    *stand_ins.MECHANISMS,
)
_BY_NAME = {mechanism.name: mechanism for mechanism in _MECHANISMS}


def names() -> tuple[str, ...]:
  """Returns the names of all mechanisms, in the order of the tables."""
  return tuple(_BY_NAME)


def get(name: str) -> Mechanism:
  """Returns a mechanism by its name, or one's own by "package.module:NAME".

  Raises:
    ValueError: no such mechanism, module or attribute, or not a Mechanism.
  """
  if name in _BY_NAME:
    return _BY_NAME[name]
  if not isinstance(name, str) or ":" not in name:
    raise ValueError(
        f"mechanism: expected one of {', '.join(_BY_NAME)} or"
        f" package.module:NAME, got {name!r}"
    )
  module, attribute = name.split(":", 1)
  try:
    found = getattr(importlib.import_module(module), attribute)
  except Exception as error:  # a user's module may fail in any way
    raise ValueError(
        f"mechanism: expected {name!r} to import, got"
        f" {type(error).__name__}: {error}"
    ) from error
  if not isinstance(found, Mechanism):
    raise ValueError(
        f"mechanism: expected {name!r} to be a Mechanism, got {type(found)}"
    )
  return found
