"""The trainer, and what methods build their models from: tables, losses, densifiers, schedules."""
