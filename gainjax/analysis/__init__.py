"""Analysis of the effects of a gain, from curves, states and toy models."""

from gainjax.analysis.bursts import (
    Decay,
    around_switches,
    burst_table,
    free_time_constant,
    measure_bursts,
    recovered_decay,
)
from gainjax.analysis.claim_plots import plot_claims
from gainjax.analysis.claims import CLAIMS, Claim, judge_claims, smaller_gap
from gainjax.analysis.features import head_features
from gainjax.analysis.gradients import cosine, gradient_angles
from gainjax.analysis.hessian import (
    Curvature,
    curvature,
    hessian_vector_product,
    in_raw_coordinates,
)
from gainjax.analysis.hessian_along import curvature_along
from gainjax.analysis.landscape import Plane, along_line, on_plane
from gainjax.analysis.networks import (
    Examples,
    Network,
    Subject,
    networks,
    over_runs,
    snapshots_around,
)
from gainjax.analysis.plots import plot_bursts, plot_tonic, plot_toys
from gainjax.analysis.recorded import (
    GainTrace,
    RecordedGain,
    gain_traces,
    recorded_gains,
    the_recorded_gain,
)
from gainjax.analysis.snapshot_plots import plot_curvature, plot_gradients, plot_loss_and_accuracy
from gainjax.analysis.switch import PARTS, drop_parts
from gainjax.analysis.switch_plots import plot_drop, plot_landscape
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
from gainjax.analysis.trace_plots import plot_temperature, plot_timescales
from gainjax.data.stream import classes_seen

__all__ = [
    "CLAIMS",
    "PARTS",
    "Claim",
    "Curvature",
    "Decay",
    "Examples",
    "GainTrace",
    "Network",
    "Noise",
    "PartNorms",
    "Plane",
    "RecordedGain",
    "Subject",
    "Timescales",
    "Trace",
    "along_line",
    "around_switches",
    "boost_effect",
    "burst_table",
    "classes_seen",
    "cosine",
    "curvature",
    "curvature_along",
    "drop_parts",
    "effective_step",
    "fast_share",
    "fast_slow_toy",
    "free_time_constant",
    "gain_toy",
    "gain_traces",
    "gradient_angles",
    "head_features",
    "held_out_uncertainty",
    "hessian_vector_product",
    "in_raw_coordinates",
    "judge_claims",
    "logit_scale",
    "loss_at",
    "measure_bursts",
    "networks",
    "noisy_onset_toys",
    "on_plane",
    "onset_targets",
    "onset_toy",
    "over_runs",
    "part_norms",
    "plot_bursts",
    "plot_claims",
    "plot_curvature",
    "plot_drop",
    "plot_gradients",
    "plot_landscape",
    "plot_loss_and_accuracy",
    "plot_temperature",
    "plot_timescales",
    "plot_tonic",
    "plot_toys",
    "recorded_gains",
    "recovered_decay",
    "reversal_targets",
    "slow_toy",
    "smaller_gap",
    "snapshots_around",
    "softmax_temperature",
    "split_timescales",
    "temperature_trace",
    "the_recorded_gain",
    "tonic_comparison",
    "tonic_levels",
    "tonic_trend",
]
