"""The copy task on two cores: 2 layers, d = 128, 3,000 steps.

Three seeds of softmax and of linear attention; one of LSH, into the same DIR:
--config.mechanisms=lsh --config.replicates=1. Measured on a core of an AMD EPYC
with other work beside it: 12 to 15 minutes a seed, 28 of LSH.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.mechanisms = ("softmax", "linear")
  config.forms = ()  # training alone
  config.lengths = (128,)
  config.passes = ("forward_backward",)
  config.layers = 2
  config.steps = 3000
  config.rounds = 15
  config.rate = (3e-3,)
  config.drop = 2400

  config.batch = 32
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

  config.corpus = ""  # not used: words are drawn
  config.seed = 0
  return config
