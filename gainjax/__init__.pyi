# What `gainjax/__init__.py` exports, for editors and type checkers: there it is imported when it is
# first used. tests/test_typing.py compares the two.

from gainjax import analysis as analysis
from gainjax import callbacks as callbacks
from gainjax import curves as curves
from gainjax import data as data
from gainjax import methods as methods
from gainjax import metrics as metrics
from gainjax import models as models
from gainjax import nnx as nnx
from gainjax import show as show
from gainjax import statistics as statistics
from gainjax import training as training
from gainjax.curves import concat as concat
from gainjax.curves import from_curves as from_curves
from gainjax.curves import per_seed as per_seed
from gainjax.curves import save as save
from gainjax.gain import GainDynamics as GainDynamics
from gainjax.gain import predictive_entropy as predictive_entropy
from gainjax.gain import sigmoid_entropy as sigmoid_entropy
from gainjax.methods import METHODS as METHODS
from gainjax.methods import Method as Method
from gainjax.methods import averaged as averaged
from gainjax.methods import get_method as get_method
from gainjax.methods import register as register
from gainjax.metrics import METRICS as METRICS
from gainjax.metrics import register_metric as register_metric
from gainjax.models.layers import GainDense as GainDense
from gainjax.models.layers import modulated_mask as modulated_mask
from gainjax.models.mlp import MLP as MLP
from gainjax.optim.averaging import averaged_weights as averaged_weights
from gainjax.optim.averaging import get_average as get_average
from gainjax.optim.modulation import gain_modulation as gain_modulation
from gainjax.optim.modulation import ngm_sgd as ngm_sgd
from gainjax.optim.states import get_gain as get_gain
from gainjax.optim.states import get_gains as get_gains
from gainjax.optim.states import reset as reset
from gainjax.optim.states import slow_params as slow_params
from gainjax.pages import report as report
from gainjax.runs.api import run as run
from gainjax.runs.api import sweep as sweep
from gainjax.runs.benchmark import Benchmark as Benchmark
from gainjax.runs.benchmarks import BENCHMARKS as BENCHMARKS
from gainjax.runs.benchmarks import get_benchmark as get_benchmark
from gainjax.runs.execution import DivergenceWarning as DivergenceWarning
from gainjax.runs.partial import load as load
from gainjax.runs.resumption import resume as resume
from gainjax.show.plots import plot_accuracy as plot_accuracy
from gainjax.show.plots import plot_curves as plot_curves
from gainjax.show.plots import plot_frontier as plot_frontier
from gainjax.show.plots import plot_heatmap as plot_heatmap
from gainjax.show.tables import comparison as comparison
from gainjax.show.tables import ranking as ranking
from gainjax.show.tables import table as table
from gainjax.train_state import TrainState as TrainState

__version__: str
