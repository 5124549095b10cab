"""The training side: started with ``python -m launcher.workers.train``, imported by nobody."""
