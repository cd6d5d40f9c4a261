"""Level sets: paths along a fixed loss."""
