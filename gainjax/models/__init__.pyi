# What `gainjax/models/__init__.py` exports, for editors and type checkers: there most of it is
# imported when it is first used. tests/test_typing.py compares the two.

from gainjax.models.adapt import as_model as as_model
from gainjax.models.cosine import CosineDense as CosineDense
from gainjax.models.equinox import from_equinox as from_equinox
from gainjax.models.layers import GainConv as GainConv
from gainjax.models.layers import GainDense as GainDense
from gainjax.models.layers import GainModule as GainModule
from gainjax.models.layers import modulated_mask as modulated_mask
from gainjax.models.linen import from_linen as from_linen
from gainjax.models.mlp import MLP as MLP
from gainjax.models.model import Model as Model
from gainjax.models.model import from_functions as from_functions
from gainjax.models.nnx import from_nnx as from_nnx
from gainjax.models.resnet import SlimResNet18 as SlimResNet18
