"""What is drawn on the page, kind by kind: functions from nouns to viser's nodes."""
