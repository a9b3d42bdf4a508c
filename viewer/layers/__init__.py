"""Layers of the page, kind by kind: functions from nouns to viser's nodes."""
