"""A training step of 4 layers, d = 256: five mixers, and by hand beside two."""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.mechanisms = ("softmax", "linear", "gla", "gated_deltanet", "hybrid")
  config.forms = ()  # lalm; by hand and in PyTorch where there is such a model
  config.lengths = (256, 512, 1024, 2048, 4096)
  config.passes = ("forward_backward",)
  config.layers = 4
  config.vocabulary = 1024

  config.batch = 1
  config.heads = 4
  config.width = 64  # D = 256
  config.value_width = 64
  config.dtype = "float32"
  config.causal = True
  config.chunk = 0  # the form's own

  config.replicates = 5
  config.point_budget = 3.0  # seconds
  config.budget = 1800.0  # seconds
  config.allowance = 120.0  # seconds

  config.corpus = ""  # not used: tokens are random
  config.seed = 0
  return config
