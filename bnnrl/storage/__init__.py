"""Files: atomic writes, checkpoints, run folders, settings as JSON, named arrays, and `bnnrl.load`."""
