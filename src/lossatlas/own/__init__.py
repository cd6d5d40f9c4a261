"""One's own network: loaded with its data as a landscape, and what the probes find of it."""
