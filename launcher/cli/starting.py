"""First steps of each verb that starts something: check it, and show what is about to start."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launcher.campaign.campaign import Campaign
    from launcher.campaign.plan import Plan
    from launcher.schedulers import Scheduler


def ready(campaign: "Campaign") -> "Scheduler":
    """Return the scheduler, after a check that the whole campaign can run.

    Raises:
        RequestError: it cannot run.
    """
    if campaign.plan.request.curriculum:
        from analysis import table
        from launcher.campaign import stage_plan

        rows = stage_plan.rows(campaign.plan, campaign.check_stages())
        print(table.render(table.plain(stage_plan.readable(rows)), "table"), file=sys.stderr)
    warn(campaign.plan)
    return campaign.open_scheduler()


def warn(plan: "Plan") -> None:
    """Print settings that have cost others a long run."""
    for line in plan.warnings():
        print(f"launch: warning: {line}", file=sys.stderr)
