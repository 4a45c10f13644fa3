"""Tables of a model's heads: who copies, who repels, who composes."""

from collections.abc import Iterable, Iterator, Mapping
import pathlib
from typing import Any, NamedTuple

from lalm.report import anatomy
from lalm.report import build
from lalm.report import medians

EXPERIMENT = "circuits"
Record = Mapping[str, Any]
_MOST = 10  # pairs of heads in a table
_COLUMNS = {
    "copying": "copies", "copying_tokens": "copies tokens", "like": "like",
    "symmetry": "symmetry", "positive": "positive", "negative": "negative",
    "ov_rank": "rank of OV", "qk_rank": "rank of QK",
}  # fmt: skip
_NOTES = (
    "- copies: sum of the eigenvalues of OV over the sum of their sizes, from"
    " the stream to the stream, and from tokens to tokens: 1 adds what is"
    " there, -1 takes it away",
    "- like: the same of the symmetric part of QK: 1 attends to what is like"
    " the query, -1 to what is unlike; symmetry: (|S|^2 - |A|^2) / |QK|^2;"
    " positive, negative: its inertia; ranks are stable ranks",
    "- composition: |M2 M1| / (|M2| |M1|) of a later head and an earlier OV",
)


class Pair(NamedTuple):
  """Two heads, `layer.head`, and how much the later reads of the earlier."""

  kind: str
  later: str
  earlier: str
  score: float


def publish(folder: pathlib.Path) -> None:
  """Writes table.md and figures of a device's folder.

  Args:
    folder: has `records.jsonl` and `environment.json`.
  """
  records, environment = medians.publish(folder, tables)
  where = environment.get("slug", "device")
  each = anatomy.settings(records, EXPERIMENT)
  drawn = [(setting, where) for setting in each if setting.records]
  build.show(folder, "circuits", "head_circuits_figure", drawn)


def numbers(setting: anatomy.Setting) -> Record:
  """Returns what the newest record says of the heads."""
  found: Record = setting.records[-1]["circuits"]
  return found


def pairs(setting: anatomy.Setting) -> Iterator[Pair]:
  """Yields all pairs of heads of which one is later."""
  for kind, layers in numbers(setting)["composition"].items():
    for later, heads in enumerate(layers):
      for head, earlier in enumerate(heads):
        for before, scores in enumerate(earlier):
          for other, score in enumerate(scores):
            if score is not None:
              names = f"{later}.{head}", f"{before}.{other}"
              yield Pair(kind, *names, score)


def tables(records: Iterable[Record], environment: Mapping[str, Any]) -> str:
  """Returns the tables of all settings as Markdown, the newest first.

  Args:
    records: of one device's folder.
    environment: of that folder.
  """
  return anatomy.tables(records, environment, EXPERIMENT, _markdown)


def _markdown(setting: anatomy.Setting, where: str) -> str:
  lines = [f"**{setting.heading}; {where}**", ""]
  if setting.records:
    found = numbers(setting)
    rows = [
        [f"{i}.{j}", *(anatomy.number(found[n][i][j]) for n in _COLUMNS)]
        for i, heads in enumerate(found["copying"])
        for j in range(len(heads))
    ]
    lines += medians.table(["head", *_COLUMNS.values()], rows, words=1)
    most = sorted(pairs(setting), key=lambda pair: -pair.score)[:_MOST]
    if most:
      cells = [[*pair[:3], anatomy.number(pair.score)] for pair in most]
      near = anatomy.number(setting.records[-1]["circuits"]["unrelated"])
      lines += ["", f"Pairs that compose most (unrelated: {near}):", ""]
      head = ["by its", "later", "earlier", "score"]
      lines += medians.table(head, cells, words=3)
  return "\n".join([*lines, "", *_NOTES, *setting.remarks, ""])
