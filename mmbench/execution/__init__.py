"""Runs, made: one orchestrator; executors in local processes, on a GPU or on Ray; estimates and signals."""
