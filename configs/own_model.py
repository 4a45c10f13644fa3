"""A model of our own, for other experiments to open: softmax, one seed.

python3 -m experiments.train_lm --config=configs/own_model.py
--out=results/own_model leaves DIR/<device>/models/*.safetensors. Measured on a
core of an AMD EPYC: 9 minutes.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.mechanisms = ("softmax",)
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

  config.replicates = 1
  config.point_budget = 2.0  # seconds; not used: a run takes what it takes
  config.budget = 3600.0  # seconds; what is stopped goes on
  config.allowance = 3600.0  # seconds

  config.corpus = ""  # sources of Python's standard library
  config.seed = 0
  return config
