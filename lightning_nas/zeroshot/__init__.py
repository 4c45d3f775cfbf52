"""Estimators that look at a network before it is trained."""

import inspect

from lightning_nas.errors import NASError
from lightning_nas.zeroshot.base import Estimator
from lightning_nas.zeroshot.fisher import Fisher
from lightning_nas.zeroshot.grad_norm import GradNorm
from lightning_nas.zeroshot.grasp import Grasp
from lightning_nas.zeroshot.jacob_cov import JacobCov
from lightning_nas.zeroshot.linear_regions import LinearRegions
from lightning_nas.zeroshot.ntk import NTK, condition_number, tangent_kernel
from lightning_nas.zeroshot.plain import Plain
from lightning_nas.zeroshot.relu import ReLU
from lightning_nas.zeroshot.relu_logdet import ReLULogDet
from lightning_nas.zeroshot.snip import Snip
from lightning_nas.zeroshot.synflow import SynFlow
from lightning_nas.zeroshot.vote import vote

__all__ = [
    "NTK",
    "Estimator",
    "Fisher",
    "GradNorm",
    "Grasp",
    "JacobCov",
    "LinearRegions",
    "Plain",
    "ReLU",
    "ReLULogDet",
    "Snip",
    "SynFlow",
    "condition_number",
    "named",
    "tangent_kernel",
    "vote",
]


def named(titles: str) -> list[str]:
    """The classes of estimators by their titles, such as ``synflow,jacob_cov``.

    Args:
        titles: With commas between them: titles, ``all`` that the package has, or class paths of one's own.

    Returns:
        Class paths.

    Raises:
        NASError: No estimator has such a title.
    """
    known = {
        member.title: f"{member.__module__}.{member.__qualname__}"
        for member in map(globals().get, __all__)
        if inspect.isclass(member) and issubclass(member, Estimator) and not inspect.isabstract(member)
    }
    found = list[str]()
    for title in titles.split(","):
        if title != "all" and title not in known and "." not in title:
            raise NASError(
                f"estimators has {title!r}: valid are {', '.join(known)}, all, and class paths of your own"
            )
        found += sorted(known.values()) if title == "all" else [known.get(title, title)]
    return found
