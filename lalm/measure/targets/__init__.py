"""Hardware that need not be here: what its compiler says a function costs."""
