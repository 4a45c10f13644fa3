"""Language models of a text, with any mixers and equal parameters."""

import dataclasses
import functools
import math
import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lalm.data import batches
from lalm.data import corpus
from lalm.data import prepared
from lalm.data import tokens
from lalm.models import files
from lalm.models import generate
from lalm.models import mixer
from lalm.models import transformer
from lalm.models.sizes import Sizes
from lalm.training import mixers
from lalm.training import optimizer
from lalm.training import runs

_BASE = "softmax"  # whose parameters others have as many of
_JUDGED = 64  # stretches of the text held out
_WARMUP = 0.05  # of the steps
_BINS = 16  # of positions in a context
_SAMPLE = 120  # tokens of a text that is made in the end


class Task:
  """The next token of a text."""

  def sizes(self, point: runs.Point) -> Sizes:
    """A model of the mixers, as large as that of softmax attention."""
    if point["width"] % 2:  # rotary places turn pairs
      raise ValueError(f"width: expected an even number, got {point['width']}")
    return matched(
        Sizes(
            vocabulary=point["vocabulary"],
            capacity=point["length"],
            mixers=mixers.layers(point["mechanism"], point["layers"]),
            width=point["heads"] * point["width"],
            heads=point["heads"],
            dtype=point["dtype"],
        )
    )

  def optimizer(self, point: runs.Point) -> optimizer.Optimizer:
    """AdamW with a cosine."""
    return optimizer.Optimizer(
        rate=point["rate"],
        steps=point["steps"],
        warmup=int(_WARMUP * point["steps"]),
    )

  def digest(self, point: runs.Point) -> str:
    """Of the text and its tokens."""
    return prepared.digest(
        point["corpus"], point["vocabulary"], point["length"]
    )

  def data(
      self, point: runs.Point, seed: int, folder: pathlib.Path
  ) -> runs.Data:
    """Stretches of the text, and others of what is held out."""
    text = self._text(point, folder)
    held_out = _held_out(text, point)
    batch = functools.partial(
        batches.windows, text.train, point["batch"], point["length"], seed=seed
    )
    losses, size = _losses(self.sizes(point)), _size(text, held_out)

    def judge(parameters: Any) -> dict[str, float]:
      loss = float(np.mean(_each(losses, parameters, held_out)))
      return {"loss": loss, "bits_per_byte": bits(loss, size)}

    return runs.Data(lambda number: batch(step=number), judge)

  def ended(
      self, run: runs.Run, parameters: Any, kept: pathlib.Path
  ) -> dict[str, Any]:
    """Bits a byte at each position, a text it makes, and the model's file."""
    point, sizes = run.point, self.sizes(run.point)
    text = self._text(point, kept)
    losses, held_out = _losses(sizes), _held_out(text, point)
    by_place = _each(losses, parameters, held_out).mean(axis=0)
    bins = np.array_split(by_place, min(_BINS, len(by_place)))
    size = _size(text, held_out)
    card = _card(run, text, float(by_place.mean()), size)
    name = f"models/{point['mechanism']}-{run.name}.safetensors"
    model = files.Model(parameters, sizes, card, text.tokenizer.dumps())
    files.save(kept.parent / name, model)
    return {
        "by_position": [runs.number(bits(b.mean(), size)) for b in bins],
        "sample": self._sample(sizes, parameters, text),
        "model": name,
    }

  def _text(self, point: runs.Point, folder: pathlib.Path) -> Any:
    return prepared.prepare(
        point["corpus"], point["vocabulary"], folder / "text"
    )

  def _sample(
      self, sizes: Sizes, parameters: Any, text: prepared.Prepared
  ) -> str:
    """What comes after the first tokens held out; "" where no token follows."""
    if not all(map(mixer.steps, sizes.mixers)):
      return ""
    length = max(1, min(16, sizes.capacity // 2))
    prompt = jnp.asarray(text.held_out[None, :length], jnp.int32)
    count = min(_SAMPLE, sizes.capacity - length + 1)
    choice = generate.Choice(temperature=0.8, top_p=0.95)
    made = generate.generate(
        parameters, sizes, prompt, count, jax.random.key(0), choice
    )
    return text.tokenizer.decode([*prompt[0].tolist(), *made[0].tolist()])


def _card(
    run: runs.Run, text: prepared.Prepared, loss: float, size: float
) -> dict[str, Any]:
  """What a model's file says of it."""
  point = run.point
  names = ("mechanism", "layers", "steps", "batch", "length", "rate")
  return {
      "corpus": _title(point["corpus"]),
      "digest": text.digest,
      "tokens": len(text.train),
      "seed": run.seed,
      "loss": runs.number(loss),
      "bits_per_byte": runs.number(bits(loss, size)),
      **{name: point[name] for name in names},
  }


def _title(corpus: str) -> str:
  """A corpus in a word or two."""
  if not corpus:
    return "standard library"
  path = pathlib.Path(corpus)
  return path.name or path.resolve().name or corpus


def _held_out(
    text: prepared.Prepared, point: runs.Point
) -> list[batches.Batch]:
  """Stretches of what is held out, at most as many at once as are trained on.

  They are the same whatever the batch is.
  """
  whole = batches.consecutive(text.held_out, _JUDGED, point["length"])
  size = point["batch"]
  starts = range(0, len(whole.tokens), size)
  return [batches.Batch(*(x[i : i + size] for x in whole)) for i in starts]


def _each(
    losses: Any, parameters: Any, held_out: list[batches.Batch]
) -> np.ndarray:
  """Nats of each token of all stretches, `[N, T]`."""
  return np.concatenate([losses(parameters, part) for part in held_out])


def _size(text: prepared.Prepared, held_out: list[batches.Batch]) -> float:
  """Bytes of a token of those that are predicted."""
  sizes = text.tokenizer.sizes()
  targets = np.concatenate([part.targets for part in held_out])
  return float(sizes[targets].mean())


def bits(loss: float, bytes_per_token: float) -> float:
  """Returns bits a byte of nats a token."""
  return float(loss) / math.log(2) / bytes_per_token


def matched(sizes: Sizes) -> Sizes:
  """Returns a model whose networks make up for the size of its mixers.

  It has as many parameters as one of softmax attention, to half a column of
  each network: a gate's weights are taken from its layer's network.

  Args:
    sizes: of the mixers, with the networks of softmax attention.

  Raises:
    ValueError: the mixers alone are larger.
  """
  change = functools.partial(dataclasses.replace, sizes)
  base = change(mixers=(_BASE,) * sizes.layers)
  columns = 3 if sizes.network == "gated" else 2
  more = (_count(sizes) - _count(base)) / (columns * sizes.width * sizes.layers)
  inner = sizes.inner - round(more)
  if inner < 1:
    raise ValueError(
        f"mixers: expected room for networks beside {sizes.mixers[0]}, got none"
        f" in a width of {sizes.width}"
    )
  return change(inner=inner)


def _count(sizes: Sizes) -> int:
  return transformer.count(
      jax.eval_shape(lambda: transformer.init(jax.random.key(0), sizes))
  )


def _losses(sizes: Sizes) -> Any:
  """From parameters and a batch to nats of each token, `[B, T]`."""

  @jax.jit
  def losses(parameters: Any, batch: batches.Batch) -> jax.Array:
    logits = transformer.forward(parameters, sizes, batch.tokens).logits
    return optax.softmax_cross_entropy_with_integer_labels(
        logits, batch.targets
    )

  return losses


_CODE = (batches, corpus, prepared, tokens, generate)
TARGET = runs.Target(Task(), sys.modules[__name__], *_CODE)
