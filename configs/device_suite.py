"""The stages of the device suite, in the order of their worth."""

from ml_collections import config_dict

# A law of two workers is told with a wide interval; five of one experiment are
# worth less than two of each. What two have measured is not measured again.
# At first no stage may take what the others need; later each has what is left.
_TIMED = (
    ("attention_scaling", "configs/device_scaling.py", 1),
    ("decode_latency", "configs/device_decoding.py", 1),
    ("peer_comparison", "configs/device_peers.py", 1),
    ("attention_scaling", "configs/device_mechanisms.py", 1),
)
_CORRECTNESS = ("correctness", "configs/correctness.py", 8)
# The width of all timings, each of which has passed a gate of its own.
_WIDE = ("width=128", "value_width=128", "dtype=bfloat16")


def get_config() -> config_dict.ConfigDict:
  """Devices it is meant for, and stages: experiment, config, processes.

  Behind them stand fields that a stage sets in its own way.
  """
  config = config_dict.ConfigDict()
  config.devices = ("gpu", "tpu")
  config.stages = (
      (*_CORRECTNESS, "budget=90"),
      (*_CORRECTNESS, "causal=False", "budget=45"),
      *((*stage, "replicates=2", "budget=110") for stage in _TIMED),
      _CORRECTNESS,
      (*_CORRECTNESS, "causal=False"),
      *_TIMED,
      ("chunk_sizes", "configs/device_chunk_sizes.py", 1),
      (*_CORRECTNESS, *_WIDE),
  )
  return config
