"""One task where the data is: read each file's header, write the rows and the ledger of the task.

In: a ScanTask and the job's settings.  Out: DataFiles in staging, a ScanResult of a few hundred bytes, and a ``BatchDone`` now
and then.  Knows neither Dask nor what other tasks do.  Expected faults of files are data: nothing a file holds raises.

    task       the story of a task: rounds of reading, batches of rows, the ledger
    files      one file after the other: open, read, scan, close
    members    the same for members of archives
    unpack     the bytes of a member, as many as are asked for
    watch      the thread that does so, and how it is left behind when a read does not come back
    retry      which faults of a storage may pass, and how long to wait
    meter      seconds by stage, latencies by file
    books      how far the task is
    failures   what is logged of files that failed
"""

from __future__ import annotations

from dicomflow.worker.task import ScanJob, scan_task

__all__ = ["ScanJob", "scan_task"]
