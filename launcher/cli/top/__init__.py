"""``launch top``: a live view of what runs below a folder."""
