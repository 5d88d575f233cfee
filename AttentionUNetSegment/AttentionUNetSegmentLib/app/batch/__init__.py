"""Many studies, on this machine or on a cluster: what ``batch`` does."""
