"""Search spaces: which architectures exist, and the supernets that share their weights."""

from lightning_nas.spaces.autoformer import AutoFormer
from lightning_nas.spaces.base import Cell, Chain, Path, SearchSpace
from lightning_nas.spaces.cost import Cost
from lightning_nas.spaces.darts import DARTS
from lightning_nas.spaces.layerwise import LayerwiseSpace
from lightning_nas.spaces.macro import NASBenchMacro
from lightning_nas.spaces.mobilenet import MobileNetV2
from lightning_nas.spaces.nasbench1shot1 import NASBench1Shot1
from lightning_nas.spaces.nasbench201 import NASBench201
from lightning_nas.spaces.nds import NDSResNet, NDSResNeXt
from lightning_nas.spaces.operations import STANDALONE, NormPolicy
from lightning_nas.spaces.pooling import Pooling
from lightning_nas.spaces.regularised import RegularisedNetwork
from lightning_nas.spaces.subspaces import ListedSpace, RestrictedSpace
from lightning_nas.spaces.supernet import CellSupernet, ChainSupernet, ParameterSlice, Supernet

__all__ = [
    "DARTS",
    "STANDALONE",
    "AutoFormer",
    "Cell",
    "CellSupernet",
    "Chain",
    "ChainSupernet",
    "Cost",
    "LayerwiseSpace",
    "ListedSpace",
    "MobileNetV2",
    "NASBench1Shot1",
    "NASBench201",
    "NASBenchMacro",
    "NDSResNeXt",
    "NDSResNet",
    "NormPolicy",
    "ParameterSlice",
    "Path",
    "Pooling",
    "RegularisedNetwork",
    "RestrictedSpace",
    "SearchSpace",
    "Supernet",
]
