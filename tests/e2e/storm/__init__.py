"""A full room in a storm: people work, organizers push, drain and replace, and parts of mux are killed at random."""
