"""Figures of clouds: embeddings, animations, scores."""
