"""Table 5 of Katharopoulos et al. (2020): a CIFAR-10 image, 3,072 tokens."""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.mechanisms = ("softmax", "linear")
  config.forms = ("softmax.stateless", "state")
  config.lengths = (3072,)
  config.layers = 16
  config.passes = ("forward",)

  config.batch = 1
  config.heads = 8
  config.width = 32  # D = 256
  config.value_width = 32
  config.dtype = "float32"
  config.causal = True
  config.chunk = 0  # the form's own

  config.replicates = 5
  config.point_budget = 30.0  # seconds, for all prefixes
  config.budget = 1800.0  # seconds
  config.allowance = 300.0  # seconds

  config.corpus = ""  # not used: tokens are the model's own
  config.seed = 0
  return config
