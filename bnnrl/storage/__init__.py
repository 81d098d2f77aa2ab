"""Files: atomic writes, checkpoints, run folders, settings as JSON, and loading what was saved."""
