"""How long a change takes from the control process until every request is judged by it."""
