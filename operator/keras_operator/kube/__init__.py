"""The Kubernetes API: client, kinds, watch, work queue, leader election and drift detection."""
