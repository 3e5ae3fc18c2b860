"""The load test: what decisions and deltas cost, beside empty handlers on stock grpc.aio, measured in one session.

`python -m loadtest rank` starts the server with a synthetic catalog, model and population, saturates it, then runs it
open loop at half that rate; `scaling` compares sizes. `deltas`, `freshness`, `mixed`, `memory` and `recover` start it
with a data folder, which lies where temporary files do (`TMPDIR`). All of it is loopback and bounded in time.

Reading order: `rank` says what is measured; `workload` what is ranked; `generator` with `closed_loop` and `open_loop`
how the load is made; `saturation` and `calm` which windows count; `report` what is said. For what is written: `deltas`;
`streaming` says what a delta is, `delta_stream` how it is sent, `ground` what it is sent to.
"""
