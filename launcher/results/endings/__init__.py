"""The end of a run: messages, deaths and exit codes -> its outcome and the line that shows it."""
