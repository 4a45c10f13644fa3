"""What a computation costs: time, memory, operations, error, surroundings.

Importing this package imports no JAX; its modules do where they need it. A
measurement runs in a process of its own (`python -m lalm.measure.worker`), for
the process is the unit of replication.
"""
