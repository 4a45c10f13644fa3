"""Chunks of every family's fast form, as an accelerator at hand takes them."""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.target = "local"
  # One or two of each family: a size is of a family's form.
  config.mechanisms = (
      "softmax",
      "linear",
      "mamba2",
      "gla",
      "deltanet",
      "gated_deltanet",
      "rwkv7",
      "mlstm",
      "window",
      "loglinear",
      "lsh",
  )
  config.forms = ("blockwise", "chunkwise")
  config.lengths = (65536,)
  config.passes = ("forward", "forward_backward")

  config.batch = 1
  config.heads = 8
  config.width = 128
  config.value_width = 128
  config.dtype = "bfloat16"
  config.causal = True
  config.chunk = (32, 64, 128, 256)

  config.replicates = 1  # minutes of a device that is rarely at hand
  config.point_budget = 0.5  # seconds
  config.budget = 480.0  # seconds; the suite says how many are left
  config.allowance = 300.0  # seconds

  config.corpus = "normal"  # Gaussian: text takes longer than the device does
  config.seed = 0
  return config
