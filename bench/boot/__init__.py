"""How long a machine takes to become a ship, phase by phase; measured by tests/machines/test_boot_phases.py."""
