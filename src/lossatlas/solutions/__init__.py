"""Solutions: what optimisers found, and the plane through three of them."""
