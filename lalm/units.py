"""Quantities as short text, three significant digits, in plain ASCII."""

import math
from typing import Any

MISSING = "-"
_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))
_BYTES = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def number(value: Any) -> float | None:
  """The value as a finite float, None where it is no such number."""
  if isinstance(value, bool) or not isinstance(value, (int, float)):
    return None
  return float(value) if math.isfinite(value) else None


def interval(value: Any) -> tuple[float, float] | None:
  """The value as (low, high), None where it is no pair of finite numbers."""
  if not isinstance(value, (list, tuple)) or len(value) != 2:
    return None
  low, high = number(value[0]), number(value[1])
  return None if low is None or high is None else (low, high)


def seconds(value: Any) -> str:
  """`0.00123` as `1.23 ms`."""
  return _scaled(number(value), _SECONDS)


def clock(seconds: float) -> str:
  """`2:05`, from an hour on `1:02:05`."""
  minutes, rest = divmod(max(0, round(seconds)), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f"{hours}:{minutes:02d}:{rest:02d}"
  return f"{minutes}:{rest:02d}"


def size(value: Any) -> str:
  """A number of bytes, `1572864` as `1.50 MiB`."""
  return _scaled(number(value), (*_BYTES, (1, "B")))


def count(value: Any) -> str:
  """A whole number with thousands apart: `8192` as `8,192`."""
  found = number(value)
  return MISSING if found is None else f"{round(found):,}"


def counted(number_: int, noun: str) -> str:
  """A whole number of things: `1 worker`, `5 workers`."""
  return f"{count(number_)} {noun}{'' if number_ == 1 else 's'}"


def exponent(value: Any, bounds: Any = None) -> str:
  """An exponent with its interval: `2.01 [1.97, 2.05]`."""
  found, pair = number(value), interval(bounds)
  if found is None:
    return MISSING
  text = _two_decimals(found)
  if pair is None:
    return text
  return f"{text} [{_two_decimals(pair[0])}, {_two_decimals(pair[1])}]"


def share(value: Any) -> str:
  """A share of a ceiling in per cent: `0.4567` as `46 %`."""
  found = number(value)
  if found is None:
    return MISSING
  percent = 100 * found
  return f"{percent:.0f} %" if percent >= 9.95 else f"{percent:.1f} %"


def _scaled(value: float | None, scale: tuple) -> str:
  if value is None:
    return MISSING
  for unit, name in scale:
    # 999.6 us would round up to 1000 us: it is printed as 1 ms.
    if abs(value) >= unit * 0.9995:
      return f"{_three_digits(value / unit)} {name}"
  return f"{_three_digits(value / scale[-1][0])} {scale[-1][1]}"


def _two_decimals(value: float) -> str:
  return f"{0.0 if abs(value) < 0.005 else value:.2f}"  # never "-0.00"


def _three_digits(value: float) -> str:
  if abs(value) >= 999.5:
    return f"{value:,.0f}"
  return f"{value:#.3g}".rstrip(".")
