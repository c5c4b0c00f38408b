"""What a push costs, beside doing it by hand."""
