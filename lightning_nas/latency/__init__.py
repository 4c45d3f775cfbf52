"""Measured latency: what networks take on one device, and what that says of those that were not measured."""

from lightning_nas.latency.conditions import Clock, Conditions, Device, Precision
from lightning_nas.latency.table import LatencyTable
from lightning_nas.latency.timing import Selection, measure, select

__all__ = [
    "Clock",
    "Conditions",
    "Device",
    "LatencyTable",
    "Precision",
    "Selection",
    "measure",
    "select",
]
