"""Analysis: what the gain does, from curves, states and toy models."""

from gainjax.analysis.bursts import (
    Decay,
    around_switches,
    burst_table,
    free_time_constant,
    measure_bursts,
    recovered_decay,
)
from gainjax.analysis.claims import CLAIMS, Claim, judge_claims, smaller_gap
from gainjax.analysis.plots import plot_bursts, plot_timescales, plot_tonic, plot_toys
from gainjax.analysis.recorded import RecordedGain, recorded_gains, the_recorded_gain
from gainjax.analysis.temperature import (
    boost_effect,
    effective_step,
    logit_scale,
    loss_at,
    softmax_temperature,
    temperature_trace,
)
from gainjax.analysis.timescales import (
    PartNorms,
    Timescales,
    fast_share,
    part_norms,
    split_timescales,
)
from gainjax.analysis.tonic import (
    classes_seen,
    held_out_uncertainty,
    tonic_comparison,
    tonic_levels,
    tonic_trend,
)
from gainjax.analysis.toys import (
    Noise,
    Trace,
    fast_slow_toy,
    gain_toy,
    noisy_onset_toys,
    onset_targets,
    onset_toy,
    reversal_targets,
    slow_toy,
)

__all__ = [
    "CLAIMS",
    "Claim",
    "Decay",
    "Noise",
    "PartNorms",
    "RecordedGain",
    "Timescales",
    "Trace",
    "around_switches",
    "boost_effect",
    "burst_table",
    "classes_seen",
    "effective_step",
    "fast_share",
    "fast_slow_toy",
    "free_time_constant",
    "gain_toy",
    "held_out_uncertainty",
    "judge_claims",
    "logit_scale",
    "loss_at",
    "measure_bursts",
    "noisy_onset_toys",
    "onset_targets",
    "onset_toy",
    "part_norms",
    "plot_bursts",
    "plot_timescales",
    "plot_tonic",
    "plot_toys",
    "recorded_gains",
    "recovered_decay",
    "reversal_targets",
    "slow_toy",
    "smaller_gap",
    "softmax_temperature",
    "split_timescales",
    "temperature_trace",
    "the_recorded_gain",
    "tonic_comparison",
    "tonic_levels",
    "tonic_trend",
]
