"""What was counted and saved: the ledger, statistics, prices, Prometheus metrics and OpenTelemetry spans."""
