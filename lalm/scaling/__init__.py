"""Laws in the sequence length: exponents, intervals, verdicts, crossovers.

`derive` turns records into the objects of fits.json and crossovers.json; the
rest works on plain arrays:

    data = sample(values)                 # [workers, lengths], NaN if missing
    found = fit(lengths, data)            # found.exponent, found.interval, ...
    compare(lengths, first, second)       # where two curves cross

No JAX here: a law can be fitted on any machine that can read the records.
"""

from lalm.scaling.crossovers import Comparison, Crossing, compare
from lalm.scaling.fits import Terms, equivalent_lengths, fit_terms
from lalm.scaling.intervals import Sample, Slope, band, sample, slopes
from lalm.scaling.laws import Law, fit
from lalm.scaling.reading import share_of_ceiling
from lalm.scaling.summary import derive
from lalm.scaling.verdicts import decide

__all__ = [
    "Comparison",
    "Crossing",
    "Law",
    "Sample",
    "Slope",
    "Terms",
    "band",
    "compare",
    "decide",
    "derive",
    "equivalent_lengths",
    "fit",
    "fit_terms",
    "sample",
    "share_of_ceiling",
    "slopes",
]
