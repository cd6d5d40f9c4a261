"""Specs: what an artefact is named by, and YAML. Light: imports no numerical library."""
