"""Jobs that make clouds of points, their Gram matrices and scores."""
