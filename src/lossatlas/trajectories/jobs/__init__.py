"""Jobs of this subject."""
