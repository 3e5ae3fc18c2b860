"""The command line: `python -m server COMMAND`, each of which says with `--help` what it takes."""

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import uvloop

from server.calling import add_address, add_credentials, target_from
from server.datasets import add_dataset_commands
from server.domain.decision import Context
from server.domain.errors import OpportuneError
from server.domain.journal import JournalDamagedError, NewerEntryError
from server.execution.batch import BatchQuery
from server.execution.compile import compile_text
from server.inference.manifest import ModelRefusedError
from server.inference.model import load_models
from server.settings import SECRETS, Settings, SettingsError, read_settings
from server.storage.folder import FolderInUseError
from server.telemetry.logs import set_up
from server.telemetry.metrics import ALL, markdown
from server.verifying import add_audit


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 done, 1 refused with the reason on standard error."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except (
        SettingsError, ModelRefusedError, JournalDamagedError, NewerEntryError, FolderInUseError, OSError, RuntimeError
    ) as problem:  # fmt: skip
        print(problem, file=sys.stderr)
    except OpportuneError as error:
        print(error.message, file=sys.stderr)
        for violation in error.violations:
            line = f"{violation.field}: {violation.description}"
            if line != error.message:
                print(f"  {line}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m server", description="Ranks offers for customers over gRPC.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands.add_parser("serve", help="serve until SIGTERM"))
    apply = commands.add_parser("apply", help="publish a catalog file to a running server")
    apply.add_argument("file", type=Path)
    add_address(apply)
    apply.add_argument("--validate-only", action="store_true", help="only list the problems")
    apply.set_defaults(command=_apply)
    health = commands.add_parser("health", help="exit 0 if a running server is serving")
    add_address(health)
    health.set_defaults(command=_health)
    listed = commands.add_parser("metrics", help="list the metrics that a server has")
    listed.add_argument("--markdown", action="store_true", help="as the page server/METRICS.md")
    listed.set_defaults(command=_metrics)
    check = commands.add_parser("check", help="list the problems of a catalog file, without a server")
    check.add_argument("file", type=Path)
    check.add_argument("--models", type=Path, help="folder of the models that placements name")
    check.set_defaults(command=_check)
    _add_data_commands(commands)
    add_dataset_commands(commands)
    return parser


def _add_data_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    load = commands.add_parser("load", help="fill the profiles of a running server from a Parquet file")
    load.add_argument(
        "file", type=Path, help="one row for each customer: customer_id, and columns named like attributes"
    )
    add_address(load)
    load.add_argument("--source", help="the load's name, so that it can be resumed; default: from the file's content")
    load.set_defaults(command=_load)
    audience = commands.add_parser("audience", help="count the customers for whom a condition holds")
    audience.add_argument("condition", help="over customer.*, history.* and context.time, as in catalogs")
    where = audience.add_mutually_exclusive_group()
    where.add_argument("--to", default="127.0.0.1:50051", metavar="HOST:PORT", help="of the server; the default")
    where.add_argument("--data", type=Path, help="a data folder; a server may be using it")
    add_credentials(audience)
    audience.add_argument("--erasures", type=Path, help="file of the erasure ledger, default DATA/erasures")
    audience.add_argument("--json", action="store_true", help="print one line of JSON")
    audience.set_defaults(command=_audience)
    recover = commands.add_parser("recover", help="check a data folder that no server uses, and report")
    recover.add_argument("--data", type=Path, required=True, help="the folder")
    recover.add_argument("--erasures", type=Path, help="file of the erasure ledger, default DATA/erasures")
    recover.add_argument(
        "--accept-loss", action="store_true", help="go on without acknowledged entries that are missing"
    )
    recover.add_argument("--json", type=Path, help="also write the report to this file")
    recover.set_defaults(command=_recover)
    add_audit(commands.add_parser("audit", help="verify the audit log"))
    _add_rank_all(commands.add_parser("rank-all", help="rank every customer of an audience into a Parquet file"))
    _add_replay(commands.add_parser("replay", help="make recorded decisions again and compare, beside a server or not"))
    identity = commands.add_parser("identity", help="measure match rules").add_subparsers(required=True, metavar="WHAT")
    evaluate = identity.add_parser("evaluate", help="precision and recall of match rules on person records")
    evaluate.add_argument("file", type=Path, help="Parquet file, a row for each record")
    evaluate.add_argument("--rules", type=Path, help="YAML file with `match`; default: the shipped rules")
    evaluate.add_argument("--truth", help="the column that tells who is who; default: cluster or true_id")
    evaluate.add_argument("--json", type=Path, help="also write the figures to this file")
    evaluate.set_defaults(command=_evaluate_identity)


def _add_rank_all(rank_all: argparse.ArgumentParser) -> None:
    rank_all.add_argument("--audience", default="", help="condition over customer.*, history.*, context.time; all")
    rank_all.add_argument("--placement", required=True, help="where the offers will be shown")
    rank_all.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    rank_all.add_argument("--force", action="store_true", help="replace the file if there is one")
    rank_all.add_argument("--data", type=Path, help="data folder to read; a server may be using it")
    rank_all.add_argument("--models", type=Path, help="folder of the models that placements name")
    rank_all.add_argument("--erasures", type=Path, help="file of the erasure ledger, default DATA/erasures")
    rank_all.add_argument("--catalog", type=Path, help="rank with this catalog file instead of the one in force")
    rank_all.add_argument("--max-offers", type=int, default=0, help="offers for a customer at most; the slots")
    rank_all.add_argument("--channel", default="", help="one of the placement's channels, default its first")
    rank_all.add_argument("--locale", default="", help="of the creatives, for example de-CH")
    rank_all.add_argument(
        "--context", action="append", default=[], metavar="NAME=VALUE", help="an attribute of the context; repeat it"
    )
    rank_all.add_argument("--time", type=_time, help="rank as at this time (ISO 8601, with time zone), default now")
    rank_all.add_argument("--json", type=Path, help="also write the report to this file")
    rank_all.set_defaults(command=_rank_all)


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise argparse.ArgumentTypeError("a time needs its zone, for example 2026-11-22T12:00:00Z")
    return time


def _assignment(text: str) -> tuple[str, str]:
    name, equals, content = text.partition("=")
    if not equals:
        raise SettingsError(f"--context takes NAME=VALUE, not {text}")
    return name, content


def _add_replay(replay: argparse.ArgumentParser) -> None:
    which = replay.add_mutually_exclusive_group(required=True)
    which.add_argument("decision_id", nargs="*", default=[], help="32 hexadecimal digits; several are replayed at once")
    which.add_argument("--last", type=_positive, help="the last so many numbers of decisions")
    which.add_argument("--all-since", type=_positive, help="every decision from this number on; 1: all there are")
    replay.add_argument("--data", type=Path, required=True, help="the data folder")
    replay.add_argument("--models", type=Path, help="folder of the models that placements name")
    replay.add_argument("--erasures", type=Path, help="file of the erasure ledger, default DATA/erasures")
    replay.add_argument("--json", type=Path, help="also write the figures to this file")
    replay.set_defaults(command=_replay)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _add_serve(serve: argparse.ArgumentParser) -> None:
    for name, field in Settings.model_fields.items():
        # A flag would show a key to everybody who lists processes.
        if name not in SECRETS:
            flag = {"action": "store_const", "const": True} if field.annotation is bool else {}
            serve.add_argument(f"--{name.replace('_', '-')}", help=field.description, **flag)  # type: ignore[arg-type]
    serve.add_argument("--config", type=Path, help="TOML file with the same settings; flags and OPPORTUNE_… come first")
    serve.set_defaults(command=_serve)


def _serve(options: argparse.Namespace) -> int:
    from server.app import serve

    settings = read_settings({name: getattr(options, name, None) for name in Settings.model_fields}, options.config)
    set_up(settings.log_format, settings.log_level)
    if settings.data is None and not settings.ephemeral:
        logging.getLogger("opportune").warning("without --data nothing survives a restart (--ephemeral: on purpose)")
    uvloop.run(serve(settings))
    return 0


def _apply(options: argparse.Namespace) -> int:
    from server.wire.client import apply_catalog

    text = options.file.read_text(encoding="utf-8")
    response = asyncio.run(apply_catalog(target_from(options, options.address), text, options.validate_only))
    for problem in response.problems:
        print(f"{problem.path}: {problem.description}")
    if response.problems:
        return 1
    verb = "would be" if options.validate_only else "is now"
    counts = f"{response.offer_count} offers, {response.placement_count} placements"
    print(f"{options.file} {verb} catalog version {response.catalog_version}: {counts}")
    return 0


def _load(options: argparse.Namespace) -> int:
    from server.loading import load_file

    asyncio.run(load_file(options.file, target_from(options, options.address), options.source, print))
    return 0


def _audience(options: argparse.Namespace) -> int:
    from server.counting import Folder, report_count

    where = target_from(options, options.to) if options.data is None else Folder(options.data, options.erasures)
    asyncio.run(report_count(options.condition, where, options.json))
    return 0


def _recover(options: argparse.Namespace) -> int:
    from server.recovering import report_on

    return asyncio.run(report_on(options.data, options.erasures, options.accept_loss, options.json))


def _rank_all(options: argparse.Namespace) -> int:
    from server.rank_all import Request, Sources, Target, rank_all

    flags = {name: getattr(options, name) for name in ("data", "models", "erasures")}
    settings = read_settings(flags)
    if settings.data is None:
        raise SettingsError("rank-all reads a data folder: name it by --data or OPPORTUNE_DATA")
    sources = Sources(settings.data, settings.erasures, settings.models, options.catalog)
    context = Context(options.channel, options.locale, options.time)
    query = BatchQuery(options.audience, options.placement, context, options.max_offers)
    request = Request(query, dict(_assignment(text) for text in options.context))
    return rank_all(sources, request, Target(options.out, options.force, options.json))


def _replay(options: argparse.Namespace) -> int:
    from server.replaying import Places, Which, report_on

    places = Places(options.data, options.models, options.erasures)
    which = Which(tuple(options.decision_id), options.last or 0, options.all_since or 0)
    return asyncio.run(report_on(places, which, options.json))


def _evaluate_identity(options: argparse.Namespace) -> int:
    from server.identity import main as evaluate

    evaluate(options.file, options.rules, options.truth, json_path=options.json)
    return 0


def _health(options: argparse.Namespace) -> int:
    from server.wire.client import check_health

    return 0 if asyncio.run(check_health(target_from(options, options.address))) else 1


def _metrics(options: argparse.Namespace) -> int:
    lines = [f"{each.name} ({each.kind}, {each.unit}): {each.meaning}" for each in ALL]
    print(markdown() if options.markdown else "\n".join(lines), end="" if options.markdown else "\n")
    return 0


def _check(options: argparse.Namespace) -> int:
    models = load_models(options.models) if options.models else {}
    manifests = {model_id: model.manifest for model_id, model in models.items()}
    compiled, problems = compile_text(options.file.read_text(encoding="utf-8"), manifests)
    for problem in problems:
        print(problem)
    if compiled is None:
        print(f"{options.file}: {len(problems)} problem{'s' if len(problems) > 1 else ''}", file=sys.stderr)
        return 1
    print(f"{options.file}: {len(compiled.offers)} offers, {len(compiled.placements)} placements, no problems")
    return 0
