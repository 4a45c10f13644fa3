"""Kinds of products, which machines have different rates for.

A kind is the dtype of the operands; of float32 it is "float32" at the highest
precision, and one of these at a lower one.
"""

# In one pass of the machine's own choice, and in a few.
FAST, HIGH = "float32 by default", "float32 at HIGH"
