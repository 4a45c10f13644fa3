"""The points of a request, in a fixed order, and the share of one worker."""

from typing import Any, Mapping, NamedTuple, Sequence

from lalm.launch.schema import Settings, UsageError

Point = dict[str, Any]

# Fields that a point has as they stand in the settings.
_SHARED = (
    "batch",
    "heads",
    "width",
    "value_width",
    "dtype",
    "causal",
    "corpus",
    "seed",
)


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
    settings: Settings, mechanisms: Mapping[str, Mechanism]
) -> list[Point]:
  """Every point: by mechanism, form, pass, length, in the order given.

  Of `all` mechanisms those are left out that cannot be causal, or full.

  Args:
    settings: the fields of `lalm.launch.schema`.
    mechanisms: the ones asked for, `all` resolved, in order.

  Raises:
    UsageError: a form is asked for that none of the mechanisms has, or a
      mechanism by its name that cannot be causal, or full.
  """
  mechanisms = _able(settings, mechanisms)
  return [
      {
          "mechanism": name,
          "form": form,
          "pass": pass_,
          "length": length,
          "chunk": settings["chunk"] if mechanisms[name].forms[form] else None,
          **{field: settings[field] for field in _SHARED},
      }
      for name, form in _forms(settings["forms"], mechanisms)
      for pass_ in settings["passes"]
      for length in settings["lengths"]
  ]


def share(items: Sequence[Any], worker: tuple[int, int]) -> list[Any]:
  """Every n-th item, beginning with the i-th, of `worker = (i, n)`."""
  return list(items[worker[0] :: worker[1]])


def curve(point: Point) -> tuple[Any, ...]:
  """What the points of one curve have in common: all but the length."""
  return tuple(point[name] for name in sorted(point) if name != "length")


def label(point: Point) -> str:
  """A point in a few words."""
  return "{mechanism}.{form} {pass} n={length}".format_map(point)


def _able(
    settings: Settings, mechanisms: Mapping[str, Mechanism]
) -> dict[str, Mechanism]:
  """The mechanisms that can be what the settings ask for."""
  kind = "causal" if settings["causal"] else "full"
  able = {name: m for name, m in mechanisms.items() if getattr(m, kind)}
  for name in settings["mechanisms"]:
    if name in mechanisms and name not in able:
      wanted = f"those that can be {kind}, with causal={settings['causal']}"
      raise UsageError("--config.mechanisms", wanted, name)
  return able


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
