"""Training: runs, sweeps, optimisers, and trained networks as landscapes."""
