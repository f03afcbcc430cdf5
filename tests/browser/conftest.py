"""The browser is driven by selenium, which only ``make browser`` installs."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("selenium") else ["chromium.py"]
