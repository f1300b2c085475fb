"""Template arguments, from the command line to the worker."""

import datetime
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from orchestrator.cli.template import read_template
from orchestrator.errors import DefinitionError, SettingsError
from orchestrator.sdk import load_service
from orchestrator.sdk.template import set_arguments, use_arguments
from orchestrator.spec import ServiceSpec
from orchestrator.worker.instance import load_definition
from tests.places import assert_placed

SERVICE = """
    from pydantic import BaseModel
    import orchestrator

    class Args(BaseModel):
        model_name: str
        workers: int = 1

    args = orchestrator.use_arguments(Args)

    @orchestrator.service(workers=args.workers)
    class Llm:
        @orchestrator.api
        def name(self) -> str:
            return args.model_name
"""


class Args(BaseModel):
    name: str
    kind: str = "animal"
    legs: int = 4


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield
    set_arguments({})
    sys.modules.pop("llm_service", None)


def test_a_model_checks_them() -> None:
    set_arguments({"name": "dog", "legs": "3"})
    assert use_arguments(Args) == Args(name="dog", legs=3)


def test_a_missing_one_is_told_at_the_line_of_the_call() -> None:
    with pytest.raises(
        DefinitionError, match=r"template argument name: Field required \(give it with --arg name="
    ) as caught:
        use_arguments(Args)
    assert_placed(caught.value, "use_arguments(Args)")


def test_a_wrong_one_is_told() -> None:
    set_arguments({"name": "dog", "legs": "many"})
    with pytest.raises(DefinitionError, match=r"template argument legs: .*valid integer"):
        use_arguments(Args)


def test_without_a_model_they_are_as_given() -> None:
    set_arguments({"name": "dog", "legs": 3})
    args = use_arguments()
    assert (args.name, args["legs"], "name" in args, list(args), len(args)) == ("dog", 3, True, ["name", "legs"], 2)
    with pytest.raises(AttributeError, match=r"'tail' is not given; give it with --arg tail="):
        _ = args.tail
    with pytest.raises(KeyError, match="'tail' is not given"):
        args["tail"]
    assert not hasattr(args, "__orchestrator_service__")


def test_the_command_line_goes_above_the_file(tmp_path: Path) -> None:
    file = tmp_path / "args.yaml"
    file.write_text("name: cat\nlegs: 4\nborn: 2020-01-02\n")
    born = datetime.date(2020, 1, 2)
    assert read_template(["name=dog", "motto=a=b", "empty="], file) == {
        "name": "dog", "legs": 4, "born": born, "motto": "a=b", "empty": "",
    }  # fmt: skip
    file.write_text('{"name": "json"}')
    assert read_template(None, file) == {"name": "json"}
    file.write_text("")
    assert read_template(None, file) == {}


@pytest.mark.parametrize("pair", ["name", "=dog", " =dog"])
def test_a_pair_is_a_pair(pair: str) -> None:
    with pytest.raises(SettingsError, match=r"--arg .* is not key=value"):
        read_template([pair], None)


@pytest.mark.parametrize(
    ("text", "message"), [("- a", "takes a mapping, not list"), ("a: [", "no YAML"), (None, "cannot be read")]
)
def test_a_file_that_is_none_is_told(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "args.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SettingsError, match=message):
        read_template(None, file)


def test_the_spec_takes_them_to_the_worker(tmp_path: Path) -> None:
    (tmp_path / "llm_service.py").write_text(textwrap.dedent(SERVICE))
    definition = load_service("llm_service:Llm", tmp_path, arguments={"model_name": "tiny", "workers": "2"})
    assert (definition.spec.workers, definition.spec.template) == (2, {"model_name": "tiny", "workers": "2"})
    spec = ServiceSpec.parse(definition.spec.document())
    del sys.modules["llm_service"]
    set_arguments({})
    assert load_definition(spec, tmp_path).cls().name() == "tiny"


def test_what_json_does_not_know_is_the_same_text_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "llm_service.py").write_text(textwrap.dedent(SERVICE))
    arguments = {"model_name": datetime.date(2020, 1, 2)}
    definition = load_service("llm_service:Llm", tmp_path, arguments=arguments)
    assert definition.cls().name() == "2020-01-02"
    assert ServiceSpec.parse(definition.spec.document()) == definition.spec
