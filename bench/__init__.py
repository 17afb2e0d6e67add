"""How fast nanod is: every figure beside a baseline that is measured in the same run. `bench/run` runs it, docs/benchmarks.md explains it."""
