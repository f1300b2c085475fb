"""tritonserver's command line, environment and output, without one."""

import io
import socket
from pathlib import Path

from orchestrator.triton.command import Ports, ServerOptions, command_line, environment, free_ports, has_gpu
from orchestrator.triton.install import TritonInstall
from orchestrator.triton.output import Output

INSTALL = TritonInstall(Path("/t/tritonserver"), Path("/t/python"), {}, Path("/t/caches"), Path("/t/libs"))


def command(*, gpu: bool = False, options: ServerOptions | None = None) -> list[str]:
    return command_line(
        INSTALL,
        server_id="s-1",
        shm_prefix="s-1-",
        backends=Path("/run/b"),
        repositories=[Path("/r 1"), Path("/r2")],
        ports=Ports(1, 2, 3),
        options=options or ServerOptions(),
        gpu=gpu,
    )


def test_nothing_listens_beyond_this_machine() -> None:
    for use in ("http", "grpc", "metrics"):
        assert f"--{use}-address=127.0.0.1" in command()


def test_models_are_loaded_by_us_alone() -> None:
    line = command()
    assert {"--model-control-mode=explicit", "--disable-auto-complete-config"} <= set(line)
    assert [each for each in line if "repository=" in each] == ["--model-repository=/r 1", "--model-repository=/r2"]
    assert "--disable-auto-complete-config" not in command(options=ServerOptions(auto_complete=True))


def test_pinned_memory_is_for_gpus() -> None:
    assert "--pinned-memory-pool-byte-size=0" in command(gpu=False)
    assert not any("pinned" in each for each in command(gpu=True))


def test_a_gpu_can_be_hidden() -> None:
    assert not has_gpu({"CUDA_VISIBLE_DEVICES": ""})
    assert not has_gpu({"CUDA_VISIBLE_DEVICES": "-1"})


def test_our_folders_come_first() -> None:
    env = environment(
        {"PATH": "/bin", "HOME": "/h", "A": "base"},
        {"A": "extra"},
        server_id="s",
        executable=Path("/venv/bin/python"),
        libraries=[Path("/l1"), Path("/l2")],
    )
    assert env["PATH"] == "/venv/bin:/bin"
    assert env["LD_LIBRARY_PATH"] == "/l1:/l2"
    assert (env["A"], env["HOME"]) == ("extra", "/h")


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(8)
    assert len(set(ports)) == 8
    for port in ports:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


OUTPUT = """\
I1121 01:09:25.076034 5270 cuda_memory_manager.cc:117] "CUDA memory pool disabled"
E1121 01:09:25.076126 5270 server.cc:241] "CudaDriverHelper has not been initialized."
I1121 01:09:25.076349 5270 server.cc:604]\x20
+------------------+------+
| Repository Agent | Path |
+------------------+------+

| a table of the user's |
hello from a model
I1121 01:09:25.076034 5270 model.py:12] a model's own info line
W1121 01:09:25.077707 5270 something.cc:798] "worth a look"
Error: Failed to initialize NVML
E1121 01:09:26.000000 5270 main.cc:257] "failed to start HTTP service: '127.0.0.1:1' already in use "
Signal (15) received.
"""


def test_only_what_a_person_should_see_is_handed_on() -> None:
    lines: list[str] = []
    output = Output(io.BytesIO(OUTPUT.encode() + b"\xff no utf-8"), lines.append)
    output.join(5)
    assert [line.split("] ")[-1] for line in lines] == [
        "| a table of the user's |",
        "hello from a model",
        "a model's own info line",
        '"worth a look"',
        "\"failed to start HTTP service: '127.0.0.1:1' already in use \"",
        "\ufffd no utf-8",
    ]
    assert output.last_error() == "failed to start HTTP service: '127.0.0.1:1' already in use"


def test_what_a_worker_says_in_the_middle_of_tritons_line_is_not_lost() -> None:
    line = 'I1126 09:00:00.591945 5917 server.cc:321] "Timeout 4: \\"Found\\" 0 model versions"'
    lines: list[str] = []
    output = Output(io.BytesIO(f"{line}Async stops; cancelled []\n\n{line}\n".encode()), lines.append)
    output.join(5)
    assert lines == ["Async stops; cancelled []"]
    assert output.tail == (line, "Async stops; cancelled []", "", line)


def test_the_tail_is_bounded() -> None:
    output = Output(io.BytesIO(b"".join(b"line %d\n" % index for index in range(1000)) + b"x" * 100_000), None)
    output.join(5)
    assert len(output.tail) == 200
    assert max(map(len, output.tail)) <= 4000


def test_a_receiver_that_fails_does_not_stop_the_reading() -> None:
    def fail(line: str) -> None:
        raise RuntimeError(line)

    output = Output(io.BytesIO(b"one\ntwo\n"), fail)
    output.join(5)
    assert output.tail == ("one", "two")
