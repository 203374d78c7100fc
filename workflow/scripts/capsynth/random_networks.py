"""Convolutional networks that nothing was trained on: their weights are drawn, from a seed.

What such a network makes of images depends on no data, no captions and no labels, and it needs no
download. Naeem et al. ("Reliable Fidelity and Diversity Metrics for Generative Models", ICML 2020,
arXiv 2002.09797) compare images that are unlike those of ImageNet in the space of a VGG16 of random
weights, 64 numbers an image; Lee et al. ("Demystifying Randomly Initialized Networks for Evaluating
Generative Models", arXiv 2208.09218) look into which networks serve.

The weights are the same bits on every machine and with every version of the libraries: they are
made of the raw numbers of NumPy's Philox generator, whose stream NumPy promises to keep (NEP 19),
by arithmetic that IEEE 754 rounds in one way only. ``torch.manual_seed`` makes no such promise.
Features are sums of many products, so their last digits depend on the machine as all others do.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from capsynth.names import check_name
from capsynth.seeding import derive_seed

if TYPE_CHECKING:  # torch is imported where it is used: a dry run must not load it
    from torch import Tensor
    from torch.nn import Module

# Variance of a weight times the number of inputs: He et al. (ICCV 2015, arXiv 1502.01852) keep the
# mean square through a layer that is followed by a ReLU, which halves it; a projection does not.
BEFORE_RELU, PROJECTION = 2.0, 1.0
# Of timm: convolutions and ReLUs one after the other, which is what the gain holds for. Norms and
# skips would need statistics of data.
ARCHITECTURES = ("vgg11", "vgg13", "vgg16", "vgg19")
_HALF_BITS = 24  # as many bits as a float32 holds


@dataclass(frozen=True)
class RandomWeights:
    """A network of random weights.

    Attributes:
        architecture: One of ``ARCHITECTURES``.
        dimensions: Width of a feature.
        image_size: Side of the square that an image is resized to, pixels.
        seed: What the weights are drawn from.
    """

    architecture: str
    dimensions: int
    image_size: int
    seed: int


def draw_weights(
    shape: tuple[int, ...], gain: float, seed: int, layer: int
) -> npt.NDArray[np.float32]:
    """Return weights of mean 0 and variance ``gain`` / inputs, uniform; the same bits everywhere.

    Args:
        shape: The number of outputs first; the product of the others is the number of inputs.
        gain: ``BEFORE_RELU`` or ``PROJECTION``.
        seed: Seed of the network.
        layer: Which layer of it, from the image on.
    """
    size = int(np.prod(shape))
    raw = np.random.Philox(key=derive_seed("random weights", seed, layer)).random_raw(-(-size // 2))
    halves = raw.astype("<u8").view("<u4")[:size] >> (32 - _HALF_BITS)
    # The middles of 2**24 equal parts of [-1, 1]; a uniform number of it has variance 1/3.
    units = (2 * halves.astype(np.float64) + 1) / 2.0**_HALF_BITS - 1
    bound = np.sqrt(3 * gain / (size // shape[0]))
    return (units * bound).astype(np.float32).reshape(shape)


def build_random_network(settings: RandomWeights) -> tuple["Module", "Tensor"]:
    """Return the network as far as its last feature map, and the projection of the map's mean.

    Weights are drawn layer by layer, from the image on; biases are 0. Torch's global generators
    have no influence and keep their state.

    Returns:
        A module that takes a tensor (n, 3, height, width) and returns a list with a tensor
        (n, channels, rows, columns), and a tensor (dimensions, channels).

    Raises:
        CapsynthError: If the architecture is none of ``ARCHITECTURES``.
    """
    import timm
    import torch

    check_name("architecture", settings.architecture, ARCHITECTURES)
    # Nothing is allocated, initialised or drawn for the layers that are left out.
    with torch.device("meta"):
        network = timm.create_model(
            settings.architecture, features_only=True, out_indices=(-1,)
        ).to_empty(device="cpu")
    layers = [part for part in network.modules() if isinstance(part, torch.nn.Conv2d)]
    with torch.no_grad():
        for number, layer in enumerate(layers):
            weights = draw_weights(tuple(layer.weight.shape), BEFORE_RELU, settings.seed, number)
            layer.weight.copy_(torch.from_numpy(weights))
            if layer.bias is not None:
                layer.bias.zero_()
    shape = (settings.dimensions, layers[-1].out_channels)
    projection = draw_weights(shape, PROJECTION, settings.seed, len(layers))
    return network.eval(), torch.from_numpy(projection)
