"""Why pods and Deployments do not make progress: pure functions of their status, Events and logs."""
