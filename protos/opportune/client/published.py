"""How long each method may take and when it may be tried again, as the service publishes it.

Only UNAVAILABLE is retried, and only where a second attempt has no second effect: of what writes, `ReportOutcomes` (an
outcome_id counts once) and `LinkIdentifiers`. RankOffers is tried once more within its deadline; give it a
`request_id`, and a first attempt that did get through is answered again instead of made anew. RESOURCE_EXHAUSTED is not
retried by channels: gRPC would do so without having been asked by the server as well. Its RetryInfo says when to come
back, and a Publisher does. Streams of deltas are resumed by a Publisher, not retried.

The deadlines are upper bounds for callers who forget theirs. Clients on gRPC's C core end a call one to two seconds
before such a bound (grpc/grpc#34547), so none is below three seconds; a caller who knows its own passes `timeout`.
"""

from importlib.resources import files


def service_config() -> str:
    """The service config as JSON, for the channel option `grpc.service_config`.

    Clients in other languages take the same text; it is `protos/service_config.json` of the repository.
    """
    return files("opportune.client").joinpath("service_config.json").read_text(encoding="utf-8")
