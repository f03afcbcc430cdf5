"""Run tasks as a Dask bag on whichever cluster the configuration names.

In: tasks, a function, ``ComputeConfig``.  Out: results as they complete.  The only package that imports Dask; knows no DICOM.

    scheduler   which scheduler, and how many tasks at once
    cluster     what a cluster is to the rest of the house
    submit      the loop: what is in flight, what becomes of tasks that are lost
    bag         the heart: tasks as partitions of a Dask bag
    threads     in this process          client    on a ``distributed`` cluster
    connect     how a client is had             local     a cluster of this machine
    remote      clusters that are started elsewhere            security  encryption
    ssh         certificates on other machines
    versions    the same dicomflow everywhere       meter    what tasks spend their time on
    watch       how many workers there are, and whether they work
    frame       a dataset as a Dask DataFrame
"""

from dicomflow.compute.cluster import Cluster, Function, Handlers, Killed, Loss, Note, WorkerCounts, open_cluster
from dicomflow.compute.frame import DaskFrame, make_frame
from dicomflow.compute.meter import record_stages
from dicomflow.compute.scheduler import choose_scheduler, count_workers, depends_on_job

__all__ = [
    "Cluster",
    "DaskFrame",
    "Function",
    "Handlers",
    "Killed",
    "Loss",
    "Note",
    "WorkerCounts",
    "choose_scheduler",
    "count_workers",
    "depends_on_job",
    "make_frame",
    "open_cluster",
    "record_stages",
]
