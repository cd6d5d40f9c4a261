"""Training and jump-and-retrain."""
