"""The example tutorials: their notebooks are valid and run, their hooks notice what is wrong."""
