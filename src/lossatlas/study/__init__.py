"""Studies: YAML, validated and merged with presets and overrides."""
