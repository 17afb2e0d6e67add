"""Unit files as values: names, directives, quoting. Nothing else in nanod writes a line of a unit file."""
