"""The Prometheus configuration and the Grafana dashboard, against metrics of real runs."""
