"""Charts of runs: functions of tables that give a plotly figure, or None where there is nothing.

They draw what `analysis.runs` has as tables; a notebook shows a figure by naming it, and
`launch report` puts the same ones in its page. Colours are those of Okabe and Ito, which people
with any colour vision tell apart, and no chart tells by colour alone: dashes, symbols and patterns
differ too.
"""

from analysis.charts.curves import losses, speed, spread
from analysis.charts.names import names
from analysis.charts.sweep import effects, failures, frontier, predicted_measured
from analysis.charts.timeline import spikes, timeline

__all__ = ["effects", "failures", "frontier", "losses", "names", "predicted_measured", "speed",
           "spikes", "spread", "timeline"]  # fmt: skip
