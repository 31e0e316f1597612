"""Finding, judging, storing and replaying answers: the `Cache`, and the plan and policy that each request gets."""
