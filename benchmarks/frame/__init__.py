"""How comparisons are made: what a case is, alternating workers, rates of the machine, records."""
