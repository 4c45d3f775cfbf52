"""Measured latency: what networks take on one device, and what that says of those that were not measured."""

from lightning_nas.latency.conditions import Conditions, Device, Precision
from lightning_nas.latency.measure import Selection, measure, select
from lightning_nas.latency.table import LatencyTable

__all__ = [
    "Conditions",
    "Device",
    "LatencyTable",
    "Precision",
    "Selection",
    "measure",
    "select",
]
