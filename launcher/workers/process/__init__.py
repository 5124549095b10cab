"""Signs of life of a rank, and its end."""
