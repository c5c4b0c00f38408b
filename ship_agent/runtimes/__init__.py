"""What runs workspaces. One protocol (`ship_agent.runtimes.base`), one backend a file."""
