"""Search: which paths of a trained supernet are scored, and which of them is the best that may be had."""

from lightning_nas.search.aging_evolution import AgingEvolution
from lightning_nas.search.algorithm import SearchAlgorithm
from lightning_nas.search.boltzmann import Boltzmann
from lightning_nas.search.constraints import Constraint, FeasibleSpace, Latency, Limits
from lightning_nas.search.evolution import Evolution
from lightning_nas.search.exhaustive import Exhaustive
from lightning_nas.search.nsga2 import NSGA2
from lightning_nas.search.random_search import RandomSearch
from lightning_nas.search.runner import Evaluation, Scorer, run
from lightning_nas.search.scoring import SupernetScorer
from lightning_nas.search.search import Search
from lightning_nas.search.shifting import Shifting, ShiftingScorer

__all__ = [
    "NSGA2",
    "AgingEvolution",
    "Boltzmann",
    "Constraint",
    "Evaluation",
    "Evolution",
    "Exhaustive",
    "FeasibleSpace",
    "Latency",
    "Limits",
    "RandomSearch",
    "Scorer",
    "Search",
    "SearchAlgorithm",
    "Shifting",
    "ShiftingScorer",
    "SupernetScorer",
    "run",
]
