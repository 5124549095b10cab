"""The data side: text sources and what they hold. Standard library only."""
