"""Published benchmarks as tables of ground truth: one file per source, and what is known of each source."""

from lightning_nas.ranking.converters.sources import SOURCES, Source, accuracy_checksum, verify

__all__ = ["SOURCES", "Source", "accuracy_checksum", "verify"]
