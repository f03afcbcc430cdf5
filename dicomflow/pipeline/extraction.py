"""What users call: read SOURCEs into a dataset, or give a dataset other columns.

In: SOURCEs, DEST, settings as they are given.  Out: a ``RunSummary``.  Knows how arguments become a ``Config``, no stage.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dicomflow import __version__
from dicomflow.config import Config, load_config
from dicomflow.dataset.changes import Mode
from dicomflow.dataset.layout import Layout
from dicomflow.dataset.snapshot import read_published
from dicomflow.errors import ConfigError, DatasetError
from dicomflow.expose import open_metrics
from dicomflow.pipeline.run import Run
from dicomflow.schema.version import FORMAT_VERSION
from dicomflow.summary import RunSummary
from dicomflow.watch import Progress, Watchers, as_watcher


def extract(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    dest: str | os.PathLike[str],
    *,
    config: Config | str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    mode: Mode | str = Mode.INCREMENT,
    **options: object,
) -> RunSummary:
    """Read the header of every file below ``sources`` into a Parquet dataset at ``dest``.

    Into a dataset that is there already, only what is new, changed or failed earlier is read; rows of files that are gone
    leave it.  A run that was killed is taken up where it stopped.  Readers see the old version until the new one is whole.

    Args:
        sources: files and folders; every regular file counts, whatever its name.
        dest: folder of the dataset: new, empty, or a dicomflow dataset.
        config: a Config, or the path of a YAML file.
        progress: called from time to time with the stage's name and the totals so far; or a ``Watcher``, such as
            ``dicomflow.show_progress()``, which hears of more.
        mode: ``increment``; ``full`` reads everything again; ``retry_failed`` reads earlier failed files and no others;
            ``add_columns`` reads files that have a row again, to give them other columns.
        options: settings by name as on the command line (``columns="minimal"``, ``scheduler="processes"``, ``workers=4``);
            all others with two underscores: ``header__prefix_bytes=65536``.  Columns and partitions that nobody names are
            those of the dataset; of a new one, ``standard`` and none.

    Raises:
        SourceError: a source does not exist.
        DatasetError: ``dest`` cannot be written, is something else, or is being written by another run.
        ConfigError: a setting, the mode or a column is wrong.
        ComputeError: the cluster cannot be reached or was lost.

    >>> import dicomflow
    >>> summary = dicomflow.extract("scans/", "headers/", columns="minimal")    # doctest: +SKIP
    >>> summary.rows                                                            # doctest: +SKIP
    10000
    """
    if not os.fspath(dest) or "://" in os.fspath(dest):
        raise DatasetError(f"{os.fspath(dest)!r}: DEST is a folder of this machine")
    known_mode = _parse_mode(mode)
    layout, settings = Layout(Path(os.path.abspath(dest))), _as_config(config, options)
    with open_metrics(settings.metrics, __version__) as metrics:
        watcher = Watchers([as_watcher(progress), *([] if metrics is None else [metrics])])
        run = Run(_as_list(sources), layout, settings, watcher, known_mode)
        run.totals.metrics = None if metrics is None else metrics.address
        return run.run()


def add_columns(
    dest: str | os.PathLike[str],
    columns: str,
    *,
    config: Config | str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    **options: object,
) -> RunSummary:
    """Give a dataset other columns: read again the files that have a row, and what changed since, and nothing else.

    Args:
        dest: a dataset.
        columns: ``minimal``, ``standard`` or a YAML file.
        config: as for ``extract``, like the errors.
        progress: as for ``extract``.
        options: as for ``extract``.

    >>> import dicomflow
    >>> dicomflow.add_columns("headers/", "wide.yaml").rows    # doctest: +SKIP
    10000
    """
    snapshot, _ = read_published(Layout(Path(os.path.abspath(dest))), FORMAT_VERSION)
    given: dict[str, Any] = {"config": config, "progress": progress, "columns": columns, **options}
    return extract(snapshot.sources, dest, mode=Mode.COLUMNS, **given)


def _parse_mode(mode: Mode | str) -> Mode:
    try:
        return Mode(mode)
    except ValueError:
        raise ConfigError(f"mode: {str(mode)[:64]!r} is none; there are {', '.join(Mode)}") from None


def _as_list(sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[str]:
    if isinstance(sources, (str, os.PathLike)):
        return [os.fspath(sources)]
    return [os.fspath(source) for source in sources]


_OPTIONS = {name: f"compute.{name}" for name in ("scheduler", "workers", "performance_report")}
"""Options that the command line has under a shorter name, for Python too."""


def _as_config(config: Config | str | os.PathLike[str] | None, options: Mapping[str, object]) -> Config:
    overrides = {_OPTIONS.get(name, name.replace("__", ".")): value for name, value in options.items()}
    if isinstance(config, Config):  # what it does not set stays unset: that means "as the dataset is"
        return load_config(None, {**config.model_dump(exclude_unset=True), **overrides}) if overrides else config
    return load_config(Path(config) if config is not None else None, overrides)
