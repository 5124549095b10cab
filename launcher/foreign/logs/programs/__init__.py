"""Programs that train: one reader for the logs of each."""
