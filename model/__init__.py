"""What is computed: the PyTorch networks, their weights and their counts."""
