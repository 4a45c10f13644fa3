"""A target on a device whose high-water mark cannot be reset."""

from lalm.measure import kernel
from lalm.measure import memory
from lalm.measure import peak_memory

memory._resettable = lambda: False
PEAK = peak_memory.Peak(kernel.TARGET)
