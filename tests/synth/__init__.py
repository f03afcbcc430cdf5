"""Tests of dicomflow.synth."""
