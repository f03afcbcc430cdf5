"""Settings of a run, from YAML and the command line.

    load       YAML file, dotted options -> Config, or one clear line
    settings   Config: one section per stage, named like it
    cluster    the section for clusters that a run starts elsewhere
    section    what all sections are: frozen, strict, sizes and addresses as people write them

Knows no stage: what a setting does is written where it is used.
"""

from dicomflow.config.cluster import (
    KINDS,
    AdaptConfig,
    ClusterConfig,
    JobsConfig,
    TlsConfig,
)
from dicomflow.config.load import load_config
from dicomflow.config.section import MAX_PORT, parse_size
from dicomflow.config.settings import (
    ComputeConfig,
    Config,
    DatasetConfig,
    ExportConfig,
    HeaderConfig,
    MetricsConfig,
    PlanConfig,
    RetryConfig,
    SourcesConfig,
)

__all__ = [
    "KINDS",
    "MAX_PORT",
    "AdaptConfig",
    "ClusterConfig",
    "ComputeConfig",
    "Config",
    "DatasetConfig",
    "ExportConfig",
    "HeaderConfig",
    "JobsConfig",
    "MetricsConfig",
    "PlanConfig",
    "RetryConfig",
    "SourcesConfig",
    "TlsConfig",
    "load_config",
    "parse_size",
]
