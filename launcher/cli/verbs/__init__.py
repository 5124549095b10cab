"""The verbs of ``launch``, a module each; `launcher.cli.registry` lists them."""
