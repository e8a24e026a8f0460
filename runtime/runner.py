"""What runs an artefact: one small protocol, and `open_runner`, which picks the library behind it."""
