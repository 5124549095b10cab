"""A sweep or a curriculum on its way: reject, propose, run, record, retry, resume."""
