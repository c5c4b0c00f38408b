"""Tests: they mirror the packages; `sim`, `e2e`, `conformance` and `fakes` stand beside them."""
