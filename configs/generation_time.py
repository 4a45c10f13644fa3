"""Table 5 of Katharopoulos et al. (2020): an image of MNIST, 784 tokens."""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.mechanisms = ("softmax", "linear")
  # "whole" runs every prefix: it shows that the integral of a few is right.
  config.forms = ("softmax.stateless", "state")
  config.lengths = (784,)
  config.layers = 8
  config.passes = ("forward",)

  config.batch = 1
  config.heads = 8
  config.width = 32  # D = 256
  config.value_width = 32
  config.dtype = "float32"
  config.causal = True
  config.chunk = 0  # the form's own

  config.replicates = 5
  config.point_budget = 6.0  # seconds, for all prefixes
  config.budget = 900.0  # seconds
  config.allowance = 300.0  # seconds

  config.corpus = ""  # not used: tokens are the model's own
  config.seed = 0
  return config
