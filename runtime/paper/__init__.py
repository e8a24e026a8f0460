"""The comparison of the paper: its networks, its figures, its claims."""
