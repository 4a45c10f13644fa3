"""Five language models of the standard library's sources: 4 layers, d = 128.

Measured on a core of an AMD EPYC, 8 to 12 minutes a seed: linear and a hybrid
8, softmax 9, Gated DeltaNet 10, GLA 12.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.mechanisms = ("softmax", "linear", "gla", "gated_deltanet", "hybrid")
  config.forms = ()  # training alone
  config.lengths = (256,)
  config.passes = ("forward_backward",)
  config.layers = 4
  config.steps = 900
  config.rounds = 15
  config.rate = (3e-3,)
  config.vocabulary = 1024

  config.batch = 16
  config.heads = 4
  config.width = 32  # D = 128
  config.value_width = 32
  config.dtype = "float32"
  config.causal = True
  config.chunk = 0  # the form's own

  config.replicates = 3  # seeds
  config.point_budget = 2.0  # seconds; not used: a run takes what it takes
  config.budget = 86400.0  # seconds; what is stopped goes on
  config.allowance = 3600.0  # seconds

  config.corpus = ""  # sources of Python's standard library
  config.seed = 0
  return config
