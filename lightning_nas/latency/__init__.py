"""Measured latency: what networks take on one device, and what that says of those that were not measured."""

from lightning_nas.latency.conditions import Conditions, Device, Precision
from lightning_nas.latency.table import LatencyTable
from lightning_nas.latency.timing import Selection, measure, select

__all__ = [
    "Conditions",
    "Device",
    "LatencyTable",
    "Precision",
    "Selection",
    "measure",
    "select",
]
