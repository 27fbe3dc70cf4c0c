"""Pure decisions: the plan for the children, and the status."""
