"""Jobs on minima: volumes, slices, decision boundaries."""
