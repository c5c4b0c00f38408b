"""The house in a box: the real core, real links and real steps, with everything around them simulated and broken.

`python -m tests.sim --help` runs seeds; docs/explanation/simulation.md says what is simulated and which rules hold.
"""
