"""Verbs of ``launch``, by the time of their use.

To add one: its module, its import here, and its ``VERB`` in its group.
"""

from launcher.cli.parser import Parser
from launcher.cli.verb import Verb
from launcher.cli.verbs.planning import check, plan, replay
from launcher.cli.verbs.results import best, import_runs, report, sample, spikes, sync, table
from launcher.cli.verbs.running import cancel, resume, run, status, submit, top

GROUPS: dict[str, tuple[Verb, ...]] = {
    "before anything runs": (plan.VERB, replay.VERB, check.VERB),
    "while it runs": (
        run.VERB,
        resume.VERB,
        submit.VERB,
        status.VERB,
        top.VERB,
        cancel.VERB,
    ),
    "afterwards": (
        table.VERB,
        report.VERB,
        best.VERB,
        spikes.VERB,
        sample.VERB,
        import_runs.VERB,
        sync.VERB,
    ),
}

VERBS = {verb.name: verb for verbs in GROUPS.values() for verb in verbs if verb.name}

Parser.groups = GROUPS  # the parsers of the verbs above show and refuse them
