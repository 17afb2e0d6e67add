"""The language: YAML text to a model of what the user wrote, every value with the place it came from."""
