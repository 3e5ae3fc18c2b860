"""The load test: what a decision costs, beside an empty call on stock grpc.aio, measured in one session.

`python -m loadtest rank` starts the server with a synthetic catalog, model and population, saturates it, then
runs it open loop at half that rate; `python -m loadtest scaling` compares sizes. All of it is loopback and
bounded in time.

Reading order: `rank` says what is measured; `workload` what is ranked; `generator` with `closed_loop` and
`open_loop` how the load is made; `saturation` and `calm` which windows count; `report` what is said.
"""
