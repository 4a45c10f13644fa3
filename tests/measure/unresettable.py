"""A target on a device whose high-water mark cannot be reset."""

from lalm.measure import kernel
from lalm.measure import memory

memory._resettable = lambda: False
PEAK = kernel.Peak(kernel.TARGET)
