"""What agents did, call by call: which run a call belongs to, how runs are recorded, and how two of them differ."""
