"""What an inference costs: power traces, sensors, energy with its uncertainty."""
