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
    CustomConfig,
    JobsConfig,
    KubernetesConfig,
    PbsConfig,
    SshConfig,
    TlsConfig,
)
from dicomflow.config.load import COMMAND_LINE, load_config
from dicomflow.config.section import MAX_PORT, ListenAddress, Section, Size, is_address, parse_size
from dicomflow.config.settings import (
    SCHEDULERS,
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
    "COMMAND_LINE",
    "KINDS",
    "MAX_PORT",
    "SCHEDULERS",
    "AdaptConfig",
    "ClusterConfig",
    "ComputeConfig",
    "Config",
    "CustomConfig",
    "DatasetConfig",
    "ExportConfig",
    "HeaderConfig",
    "JobsConfig",
    "KubernetesConfig",
    "ListenAddress",
    "MetricsConfig",
    "PbsConfig",
    "PlanConfig",
    "RetryConfig",
    "Section",
    "Size",
    "SourcesConfig",
    "SshConfig",
    "TlsConfig",
    "is_address",
    "load_config",
    "parse_size",
]
