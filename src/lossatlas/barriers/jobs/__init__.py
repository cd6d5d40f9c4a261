"""Jobs that look for low paths and separations."""
