"""The points of a request, in a fixed order, and the share of one worker."""

import itertools
from typing import Any, Mapping, NamedTuple, Sequence

from lalm.launch.schema import FIELDS, Fields, Settings, UsageError

Point = dict[str, Any]


class Mechanism(NamedTuple):
  """What the grid must know about a mechanism.

  Attributes:
    forms: name of each form, and whether it takes a chunk.
    featured: the forms swept where none are asked for.
    causal: whether it can be causal.
    full: whether it can be full.
  """

  forms: Mapping[str, bool]
  featured: tuple[str, ...]
  causal: bool = True
  full: bool = True


def points(
    settings: Settings,
    mechanisms: Mapping[str, Mechanism],
    fields: Fields = FIELDS,
) -> list[Point]:
  """Every point: by mechanism, form, the fields, length, in the order given.

  Of `all` mechanisms those are left out that cannot be causal, or full, and of
  full ones the `step`.

  Args:
    settings: the value of every field.
    mechanisms: the ones asked for, `all` resolved, in order.
    fields: those there are.

  Raises:
    UsageError: a form is asked for that none of the mechanisms has, or a
      mechanism by its name that cannot be causal, or full.
  """
  mechanisms = _able(settings, mechanisms)
  axes = {
      field.point: _values(settings[name])
      for name, field in fields.items()
      if field.point
  }
  axes["length"] = axes.pop("length")  # a curve is visited as a whole
  found = []
  for name, form in _forms(settings["forms"], mechanisms):
    own = {"mechanism": name, "form": form}
    for values in itertools.product(*axes.values()):
      point = own | dict(zip(axes, values))
      if not mechanisms[name].forms[form]:
        point["chunk"] = None
      found.append(point)
  return found


def share(items: Sequence[Any], worker: tuple[int, int]) -> list[Any]:
  """Every n-th item, beginning with the i-th, of `worker = (i, n)`."""
  return list(items[worker[0] :: worker[1]])


def curve(point: Point) -> tuple[Any, ...]:
  """What the points of one curve have in common: all but the length."""
  return tuple(point[name] for name in sorted(point) if name != "length")


def label(point: Point) -> str:
  """A point in a few words; of its sizes those that are often swept."""
  known = {field.point: field.default for field in FIELDS.values()}
  swept = ("batch", "dtype")
  more = [
      f" {name}={value}"
      for name, value in point.items()
      if name not in (*known, "mechanism", "form")
      or (name in swept and (value,) != known[name])
  ]
  text = "{mechanism}.{form} {pass} n={length}".format_map(point)
  return text + "".join(more)


def _values(value: Any) -> tuple[Any, ...]:
  return value if isinstance(value, tuple) else (value,)


def _able(
    settings: Settings, mechanisms: Mapping[str, Mechanism]
) -> dict[str, Mechanism]:
  """The mechanisms that can be what the settings ask for."""
  kind = "causal" if settings["causal"] else "full"
  able = {name: m for name, m in mechanisms.items() if getattr(m, kind)}
  if not settings["causal"]:
    able = {name: _without_steps(m) for name, m in able.items()}
  for name in settings["mechanisms"]:
    if name in mechanisms and name not in able:
      wanted = f"those that can be {kind}, with causal={settings['causal']}"
      raise UsageError("--config.mechanisms", wanted, name)
  return able


def _without_steps(mechanism: Mechanism) -> Mechanism:
  """The mechanism without `step`, of a token that has none after it."""
  return mechanism._replace(
      forms={f: c for f, c in mechanism.forms.items() if f != "step"},
      featured=tuple(f for f in mechanism.featured if f != "step"),
  )


def _forms(
    asked: Sequence[str], mechanisms: Mapping[str, Mechanism]
) -> list[tuple[str, str]]:
  if not asked:
    return [(name, f) for name, m in mechanisms.items() for f in m.featured]
  available = [(name, f) for name, m in mechanisms.items() for f in m.forms]
  for form in asked:
    if not any(_is(form, *pair) for pair in available):
      names = ", ".join(f"{name}.{f}" for name, f in available)
      raise UsageError("--config.forms", f"some of {names}", form)
  chosen = []
  for name in mechanisms:
    for form in asked:
      chosen += [p for p in available if p[0] == name and _is(form, *p)]
  return list(dict.fromkeys(chosen))


def _is(asked: str, mechanism: str, form: str) -> bool:
  return asked in (form, f"{mechanism}.{form}")
