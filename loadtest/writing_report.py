"""The figures of the scenarios with a data folder, for people on standard output."""

from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 40


def deltas_table(figures: Mapping[str, Any]) -> str:
    """The scenario `deltas`: messages of many deltas beside messages of one."""
    many, empty = figures["deltas_per_message"], figures["empty"]
    names = (("durable_", ""), ("single_", "single_"))
    rows = [
        _row("durable deltas/s", [figures[f"{rate}deltas_per_s"] for rate, _ in names], ",.0f"),
        _row("empty stream, deltas/s", [empty[f"{rate}deltas_per_s"] for rate, _ in names], ",.0f"),
        _both("ratio to the empty stream", figures, "rate_ratio_to_empty", ".3f"),
        _both("server CPU, µs/delta", figures, "server_cpu_us_per_delta", ",.1f"),
        _both("journal, bytes/delta", figures, "journal_bytes_per_delta", ",.0f"),
        _both("written to storage, bytes/delta", figures, "written_bytes_per_delta", ",.0f"),
        _both("open loop, messages/s", figures, "ack_messages_per_s", ",.0f"),
        _both("acknowledged p50, ms", figures, "ack_p50_ms", ".2f"),
        _both("acknowledged p99, ms", figures, "ack_p99_ms", ".2f"),
        _both("samples", figures, "ack_samples", ",d"),
    ]
    title = f"StreamProfileDeltas: {figures['profiles']:,} profiles, {figures['streams']} streams, "
    notes = [
        f"A delta: {figures['delta']}. Acknowledged means durable and visible to RankOffers.",
        "The empty stream: stock grpc.aio with uvloop; it keeps nothing and acknowledges every message at once.",
        "Latencies: open loop at half the rate, from the time a message was due to its acknowledgement.",
    ]
    head = _row("deltas per message", [many, 1], ",d")
    return _table(title + f"{figures['transport']} transport", [head, *rows], [*notes, *_notes(figures)])


def freshness_table(figures: Mapping[str, Any]) -> str:
    """The scenario `freshness`: probes that rank at once, and those that wait for the acknowledgement."""
    prefixes = ("freshness_", "acknowledged_freshness_")
    rows = [
        _heads("", ["at once", "acknowledged"]),
        *(
            _row(name, [figures[prefix + key] for prefix in prefixes], form)
            for name, key, form in (
                ("p50, ms", "p50_ms", ".2f"),
                ("p99, ms", "p99_ms", ".2f"),
                ("probes", "samples", ",d"),
            )
        ),
    ]
    notes = [
        "From the time a delta was due to the first answer of RankOffers that used it.",
        f"At once: ranked again and again, {figures['rankings_per_probe']:.1f} times a probe. "
        "Acknowledged: ranked once, at the version of the acknowledgement.",
        _streamed(figures),
    ]
    title = f"Freshness: {figures['candidates']:,} offers, {figures['profiles']:,} profiles, "
    return _table(title + f"{figures['transport']} transport", rows, [*notes, *_notes(figures)])


def mixed_table(figures: Mapping[str, Any]) -> str:
    """The scenario `mixed`: RankOffers alone, with the stream, and with everything."""
    kinds = ("without", "with", "with_catalog", "with_everything")
    rows = [
        _heads("", ["alone", "deltas", "catalog", "everything"]),
        _row("p50, ms", [figures[f"rank_p50_ms_{kind}"] for kind in kinds], ".2f"),
        _row("p99, ms", [figures[f"rank_p99_ms_{kind}"] for kind in kinds], ".2f"),
        _row(
            "p99, times that alone",
            [1, *(figures[f"p99_ratio{kind}"] for kind in ("", "_with_catalog", "_with_everything"))],
            ".2f",
        ),
        _row("samples", [figures[f"samples_{kind}"] for kind in kinds], ",d"),
    ]
    shoppers, published = figures["shoppers"], figures["published_s"]
    everything = (
        f"Everything: the deltas, {shoppers['per_s']:.0f} shoppers/s whose outcomes were {shoppers['outcomes']}, "
        f"and {len(published)} catalogs published, each with another model, in {max(published):.1f} s at most."
    )
    lag = (
        f"99.9 % of the loop's turns were late by {figures['loop_lag_p999_ms_without_at_most']:g} ms at most, with "
        f"everything by {figures['loop_lag_p999_ms_with_everything_at_most']:g} ms, and none by more than "
        f"{figures['loop_lag_max_ms_with_everything_at_most']:g} ms. {figures['snapshots']} snapshots were written."
    )
    title = f"RankOffers alone and beside other work: {figures['candidates']:,} offers, "
    title += f"{figures['profiles']:,} profiles, {figures['transport']} transport"
    late = ", ".join(f"{figures[f'lateness_p99_ms_{kind}']:.1f}" for kind in kinds)
    open_loop = f"Open loop at {figures['rate_rps']:,} calls/s, from the intended send time; the generator itself was "
    open_loop += f"late by {late} ms at p99."
    return _table(title, rows, [open_loop, _streamed(figures), everything, lag, *_notes(figures)])


def memory_table(figures: Mapping[str, Any]) -> str:
    """The scenario `memory`."""
    rows = [
        _row("memory, bytes/customer", [figures["bytes_per_customer"]], ",.0f"),
        _row("memory before, GB", [figures["rss_before_gb"]], ".2f"),
        _row("memory after, GB", [figures["rss_gb"]], ".2f"),
        _row("memory at most, GB", [figures["rss_max_gb"]], ".2f"),
        _row("load, s", [figures["load_s"]], ",.1f"),
        _row("server CPU, µs/customer", [figures["server_cpu_us_per_customer"]], ",.1f"),
        _row("journal, bytes/customer", [figures["journal_bytes_per_customer"]], ",.0f"),
    ]
    title = f"LoadProfiles: {figures['profiles']:,} profiles of {figures['attributes']} attributes, "
    notes = [f"{figures['samples']} customers were read back. Memory is resident (VmRSS), after it had settled."]
    return _table(title + f"{figures['transport']} transport", rows, [*notes, *_notes(figures)])


def recover_table(figures: Mapping[str, Any]) -> str:
    """The scenario `recover`."""
    rows = [
        _row("exec to SERVING, s (median)", [figures["ready_s"]], ".2f"),
        _row("exec to SERVING, s (each)", figures["ready_s_all"], ".2f"),
        _row("server CPU, s", [figures["server_cpu_s"]], ".2f"),
        _row("snapshot, MB", [figures["snapshot_bytes"] / 1e6], ",.0f"),
    ]
    title = (
        f"Restart after SIGKILL: {figures['profiles']:,} profiles in a snapshot, {figures['tail']:,} entries behind it"
    )
    notes = ["After each start the first calls saw the last delta that was acknowledged. The page cache was warm."]
    return _table(title, rows, [*notes, *_notes(figures)])


def cold_table(figures: Mapping[str, Any]) -> str:
    """The scenario `cold`: the start, and the first answers beside later ones."""
    rows = [
        _heads("", ["", "ratio"]),
        _row("exec to SERVING, s (median)", [figures["ready_s"], figures["ready_ratio_to_empty"]], ".2f"),
        _row("empty servicer to its first answer, s", [figures["empty_s"], 1], ".2f"),
        _row("first ranking, ms", [figures["first_ms"], figures["first_ratio_to_warm"]], ".2f"),
        _row(
            "first hundred, p50, ms", [figures["first_hundred_p50_ms"], figures["first_hundred_ratio_to_warm"]], ".2f"
        ),
        _row("first hundred, worst, ms", [figures["first_hundred_worst_ms"]], ".2f"),
        _row("warm, p50, ms", [figures["warm_p50_ms"], 1], ".2f"),
    ]
    title = f"Cold start: {figures['candidates']:,} offers, {figures['profiles']:,} profiles in a snapshot, "
    notes = [f"{figures['samples']} starts, with a warm page cache; rankings one after the other on one connection."]
    return _table(title + f"{figures['transport']} transport", rows, [*notes, *_notes(figures)])


def audience_table(figures: Mapping[str, Any]) -> str:
    """The scenario `audience`: counting alone, then RankOffers without and with it."""
    rows = [
        _row("count, ms (median)", [figures["count_ms"]], ",.1f"),
        _row("count, ms (best)", [figures["count_ms_best"]], ",.1f"),
        _row("count beside rankings, ms (median)", [figures["count_ms_beside"]], ",.1f"),
        _row("server CPU, ms/count", [figures["server_cpu_ms_per_count"]], ",.1f"),
        _row("share of a core while counting", [figures["loop_share"]], ".2f"),
        "",
        _heads("RankOffers", ["without", "with", "ratio"]),
        *(
            _row(
                f"{name}, ms",
                [figures[f"rank_{name}_ms_without"], figures[f"rank_{name}_ms_with"], figures[f"{name}_ratio"]],
                ".2f",
            )
            for name in ("p50", "p99")
        ),
        _row("samples", [figures["samples_without"], figures["samples_with"]], ",d"),
    ]
    title = f"CountAudience: {figures['matched']:,} of {figures['customers']:,} customers, "
    notes = [
        f"The audience: {figures['audience']}",
        f"Every count was checked: {len(figures['count_ms_all'])} one after the other with nothing else going on "
        f"(steal {figures['count_steal_percent']:.2f} %), then {figures['counts_beside']} beside rankings.",
        f"RankOffers: {figures['candidates']:,} offers, open loop at {figures['rate_rps']:,} calls/s, from the "
        "intended send time; with: audiences are counted without a pause.",
    ]
    return _table(title + f"{figures['transport']} transport", rows, [*notes, *_notes(figures)])


def batch_table(figures: Mapping[str, Any]) -> str:
    """The scenario `batch`."""
    rows = [
        _row("exec to exit, s", [figures["seconds"]], ",.1f"),
        _row("of that reading the data folder, s", [figures["read_seconds"]], ",.1f"),
        _row("of that ranking and writing, s", [figures["ranking_seconds"]], ",.1f"),
        _row("customers/s", [figures["customers_per_second"]], ",.0f"),
        _row("CPU, µs/customer", [1e6 * figures["cpu_seconds"] / figures["customers"]], ",.1f"),
        _row("memory after reading, MiB", [figures["rss_read_mib"]], ",d"),
        _row("memory at most, MiB", [figures["rss_mib"]], ",d"),
        _row("rows written", [figures["rows"]], ",d"),
        _row("file, MB", [figures["file_bytes"] / 1e6], ",.0f"),
    ]
    title = f"rank-all: {figures['customers']:,} customers, {figures['offers']:,} offers, {figures['slots']} slots, "
    notes = [f"{figures['offered']:,} customers were offered something; the model failed for nobody."]
    if figures["model_failed_for"]:
        notes = [f"The model failed for {figures['model_failed_for']:,} customers."]
    return _table(title + f"model {figures['model']}", rows, [*notes, *_notes(figures)])


def _table(title: str, rows: Sequence[str], notes: Sequence[str]) -> str:
    return "\n".join([title, "", *rows, "", *notes])


def _heads(name: str, columns: Sequence[str]) -> str:
    return f"  {name:{WIDTH}}" + "".join(f"{column:>14}" for column in columns)


def _row(name: str, values: Sequence[float], form: str) -> str:
    return _heads(name, [f"{value:{form}}" for value in values])


def _both(name: str, figures: Mapping[str, Any], key: str, form: str) -> str:
    return _row(name, [figures[key], figures[f"single_{key}"]], form)


def _streamed(figures: Mapping[str, Any]) -> str:
    stream = figures["stream"]
    return (
        f"Streaming in: {stream['deltas_per_s']:,.0f} deltas/s in messages of {stream['deltas_per_message']}, "
        f"acknowledged in {stream['ack_p99_ms']:.1f} ms at p99. A delta: {stream['delta']}."
    )


def _notes(figures: Mapping[str, Any]) -> list[str]:
    """What every table rests on."""
    disk = figures["filesystem"]
    notes = [f"Data folder on {disk['type']}, where 4 KiB become durable in {disk['sync_p50_ms']:.2f} ms (median)."]
    disturbance = f"Steal at most {figures['steal_percent']:.2f} %"
    if "others_percent" in figures:
        disturbance += f", other processes at most {figures['others_percent']:.1f} %"
    errors = f"Errors {figures['errors']}. " if "errors" in figures else ""
    return [*notes, f"{errors}{disturbance}."]
