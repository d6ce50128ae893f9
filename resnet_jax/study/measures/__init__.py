"""The studies of the package, a file each; importing this registers them."""

from resnet_jax.study.measures import convergence as convergence
from resnet_jax.study.measures import cost as cost
from resnet_jax.study.measures import degradation as degradation
from resnet_jax.study.measures import initialization as initialization
from resnet_jax.study.measures import landscape as landscape
from resnet_jax.study.measures import lesion as lesion
from resnet_jax.study.measures import normalization as normalization
from resnet_jax.study.measures import paths as paths
from resnet_jax.study.measures import propagation as propagation
