"""A policy and a feature for nanod, small enough to start one's own from."""
