"""Other programs that train, and a run in their own words: a file of conf/program each.

To add one: a YAML file in conf/program with what `launcher.programs.program.Program` asks for. It
has to map, require or leave out every field of a run; a test holds that.
"""
