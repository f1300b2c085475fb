"""`orchestrator explain`: what will run where, with which batching, memory and instances, and why."""

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.console import say
from orchestrator.cli.explanation import ApiPlace, Batching, Devices, Explanation, ModelPlace, Reasoned, explain
from orchestrator.cli.loading import Assignments, Bentoml, ConfigPath, WorkingDir, load
from orchestrator.cli.tables import say_json, say_table, size_in_words
from orchestrator.cli.template import TemplateArguments, TemplateFile, read_template
from orchestrator.compiler import Target

__all__ = ["explain_service"]

_KEY_WIDTH = 11


def explain_service(
    service: Annotated[
        str, typer.Argument(metavar="module:Class", help="The service; or model:NAME[:VERSION], a stored model.")
    ],
    target: Annotated[
        Target, typer.Option(help="Which Triton would run it: the embedded one, or NVIDIA's container.")
    ] = Target.EMBEDDED,
    working_dir: WorkingDir = Path(),
    config: ConfigPath = None,
    assignments: Assignments = None,
    bentoml: Bentoml = False,
    arg: TemplateArguments = None,
    arg_file: TemplateFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Shows what runs where, and why: processes, models, batching, instances, threads, memory. Starts nothing.

    Examples:

      orchestrator explain service:Ocr --working-dir examples/ocr

      orchestrator explain service:Ocr --working-dir examples/ocr --target container

      orchestrator explain model:text_det
    """
    definition = load(
        service,
        working_dir,
        config=config,
        assignments=assignments,
        bentoml=bentoml,
        arguments=read_template(arg, arg_file),
    )
    explanation = explain(definition, target, cores=len(os.sched_getaffinity(0)))
    if as_json:
        say_json(asdict(explanation))
    else:
        _say(explanation)


def _say(explanation: Explanation) -> None:
    if explanation.calls:
        say_table(("SERVICE", "AS", "RUNS IN", "CALLED THROUGH"), list(_tree(explanation)))
        say("")
    _say_service(explanation, by_http=True)
    for each in explanation.others:
        say("")
        _say_service(each, by_http=False)


def _tree(explanation: Explanation) -> Iterator[tuple[str, ...]]:
    """Who calls whom, a row each; what one that several call calls itself is drawn once."""
    services = {each.service: each for each in (explanation, *explanation.others)}
    drawn: set[str] = set()

    def below(caller: Explanation, indent: str) -> Iterator[tuple[str, ...]]:
        for call in caller.calls:
            last = call is caller.calls[-1]
            branch, attribute = indent + ("└─ " if last else "├─ "), f"self.{call.attribute}"
            if call.service is None:
                yield f"{branch}{call.url}", attribute, "a server elsewhere", call.through
                continue
            called = services[call.service]
            again = call.service in drawn and bool(called.calls)
            yield f"{branch}{call.service}", attribute, _where(called), call.through + (", see above" if again else "")
            if not again:
                drawn.add(call.service)
                yield from below(called, indent + ("   " if last else "│  "))

    yield explanation.service, "", _where(explanation), "HTTP"
    yield from below(explanation, "")


def _where(explanation: Explanation) -> str:
    return "Triton" if explanation.placement == "triton" else "the front-end"


def _say_service(explanation: Explanation, *, by_http: bool) -> None:
    """One service.

    Args:
        by_http: its APIs have routes; those of a service that others call have none.
    """
    say(f"{explanation.service} ({explanation.source}), for the {explanation.target} Triton")
    _say_pairs(_service_pairs(explanation))
    if explanation.apis:
        say("")
        rows = [("API", "ROUTE", "KIND", "RUNS", "BATCHING"), *map(_api_row, explanation.apis)]
        heading, *lines = rows if by_http else [(name, *rest) for name, _, *rest in rows]
        say_table(heading, lines)
    for model in explanation.models:
        say("")
        say(f"{model.name} (self.{model.attribute})")
        _say_pairs(_model_pairs(model))


def _say_pairs(pairs: Iterator[tuple[str, str]]) -> None:
    for key, text in pairs:
        say(f"  {key:{_KEY_WIDTH}}{text}")


def _service_pairs(explanation: Explanation) -> Iterator[tuple[str, str]]:
    yield "runs in", _because(explanation.runs)
    if explanation.placement != "command":
        yield "processes", _devices(explanation.processes)
        yield "threads", f"{explanation.threads} for sync methods, in each process"
    memory = "unknown: resources.memory is not given"
    if explanation.memory_bytes is not None:
        memory = f"{size_in_words(explanation.memory_bytes)} each: resources.memory says so"
    yield "memory", memory
    if explanation.calls_models:
        yield "models", f"called through {explanation.calls_models}"
    for call in explanation.calls:
        yield "calls", f"{call.service or call.url} (self.{call.attribute}) through {call.through}"
    if explanation.called_by:
        yield "called by", ", ".join(explanation.called_by)
    if explanation.facades:
        yield "facades", f"{', '.join(explanation.facades)}: for plain Triton clients, no process of their own"
    for stored in explanation.stored:
        yield "reads", f"{stored.requested}, which is {stored.tag}"


def _api_row(api: ApiPlace) -> tuple[str, ...]:
    return api.name, api.route, api.kind, api.runs, _batching(api.batching)


def _model_pairs(model: ModelPlace) -> Iterator[tuple[str, str]]:
    if model.tag is not None:
        yield "model", f"{model.tag}, asked for as {model.requested}; version {model.version} in Triton"
    yield "file", f"{model.format}, {model.file}"
    yield "digest", f"sha256 {model.digest}"
    yield "runs in", _because(model.backend)
    yield "batching", _batching(model.batching)
    yield "instances", _devices(model.instances)
    threads = "" if model.threads is None else f"{model.threads} in each instance: "
    yield "threads", f"{threads}{model.threads_why}"
    yield "memory", f"{size_in_words(model.size)} of weights in each instance, and more while it runs"
    if model.accelerator:
        yield "hands on", f"its graph to {model.accelerator}: accelerator= says so"
    if model.response_cache:
        yield "cache", "Triton answers equal requests from its cache: response_cache= says so"
    yield "warm-up", "before the first request" if model.warmup else "none: warmup=False says so"


def _because(decision: Reasoned) -> str:
    return f"{decision.what}, because {decision.why}"


def _batching(batching: Batching) -> str:
    if not batching.max_rows:
        return f"none: {batching.why}"
    wait = f", waiting {batching.queue_delay_us} us for more" if batching.queue_delay_us else ""
    return f"up to {batching.max_rows} rows, by {_MERGERS[batching.by]}{wait}: {batching.why}"


_MERGERS = {"triton": "Triton", "worker": "the worker", "front-end": "the front-end"}


def _devices(devices: Devices) -> str:
    count = "one in each front-end process" if devices.count is None else str(devices.count)
    if devices.gpus:
        return f"{count}: {', '.join(f'{each} on GPU {gpu}' for gpu, each in devices.gpus.items())}"
    return f"{count}, with every GPU of the machine in sight" if devices.sees_gpus else f"{count}, on the CPU"
