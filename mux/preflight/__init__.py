"""Preflight: whether an event would work, asked before anything is launched.

Modules: finding (what a check says), room, addresses, images, machine (this machine), ec2_facts and ec2_gather and
ec2_checks (a cloud), run (which checks an event needs).

Rules: facts are gathered in one place and judged in another, by functions without I/O; nothing is launched, changed or
written; whatever cannot be found out is a warning that says why, never a silent pass.
"""
