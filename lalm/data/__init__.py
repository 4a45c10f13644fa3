"""Data: a batch is a pure function of its seed."""
