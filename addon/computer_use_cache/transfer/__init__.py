"""Recordings in and out: JSON lines, flows, HAR files, cassettes, and the original tool's cache."""
