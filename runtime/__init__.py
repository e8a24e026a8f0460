"""How an artefact runs and how long it takes: manifest, runners, bench."""
