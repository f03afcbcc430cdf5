"""Tests of ``dicomflow.sql``."""
