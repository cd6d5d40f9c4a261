"""Jobs on sets of solutions."""
