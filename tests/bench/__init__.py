"""Benchmarks: one module for each row of the table of figures that must be fast. `make bench` runs them.

Timings on shared machines are noise: every figure is a ratio of medians of paired, interleaved runs against an anchor
that is measured in the same minute.
"""
