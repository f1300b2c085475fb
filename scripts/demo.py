"""`make demo`: examples/iris from the class to the answer, on a real Triton, in half a minute."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from orchestrator.client import Client

ROOT = Path(__file__).resolve().parent.parent
IRIS = ROOT / "examples" / "iris"
COMMAND = str(Path(sys.executable).parent / "orchestrator")
SPECIES = ("setosa", "versicolor", "virginica")
COUNTER = "nv_inference_request_success"


def main() -> int:
    """Runs the demo; returns 0 where every flower was named right and Triton counted every request."""
    step("Train the model (scikit-learn's iris data)")
    subprocess.run([sys.executable, "train.py"], cwd=IRIS, check=True)
    step("Export the service to a Triton model repository")
    export = [COMMAND, "export", "service:Iris", "--working-dir", str(IRIS), "--repository", "model_repository"]
    subprocess.run(export, cwd=ROOT, check=True)
    step("Serve it: orchestrator serve service:Iris --working-dir examples/iris")
    server = subprocess.Popen(
        [COMMAND, "serve", "service:Iris", "--working-dir", str(IRIS), "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        url = wait_until_ready(server)
        return call(url)
    finally:
        step("Stop")
        server.send_signal(signal.SIGTERM)
        print(f"orchestrator serve ended with exit code {server.wait(timeout=30)}")


def wait_until_ready(server: "subprocess.Popen[str]") -> str:
    """The address that the server prints when it is ready."""
    assert server.stdout
    for line in server.stdout:
        print(line, end="")
        if line.startswith("ready "):
            return line.split()[1]
    raise SystemExit(f"orchestrator serve ended with exit code {server.wait()}")


def call(url: str) -> int:
    """Sends every known flower, and compares answers and counters."""
    flowers = json.loads((IRIS / "requests.json").read_text())
    before = counters(url)
    step("Ask for known flowers")
    right = 0
    with Client(url) as client:
        for flower in flowers:
            (answer,) = client.call("classify", **flower["request"])
            named = SPECIES[answer]
            right += named == flower["species"]
            mark = "ok" if named == flower["species"] else "WRONG"
            print(f"{flower['request']['input_series'][0]!s:24} -> {named:12} (is {flower['species']})  {mark}")
    step("What Triton counted")
    grown = {model: count - before.get(model, 0) for model, count in counters(url).items()}
    for model, count in grown.items():
        print(f'{COUNTER}{{model="{model}"}} grew by {count} for {len(flowers)} requests')
    print(f"OpenAPI: {url}/openapi.json   pages: {url}/docs and {url}/redoc")
    return 0 if right == len(flowers) and grown.get("Iris") == len(flowers) else 1


def counters(url: str) -> Mapping[str, int]:
    """Successful requests by model, as Triton counts them."""
    with urllib.request.urlopen(f"{url}/metrics") as page:
        text = page.read().decode()
    found = re.findall(rf'^{COUNTER}\{{model="([^"]+)"[^}}]*\}} ([0-9.e+]+)$', text, re.MULTILINE)
    return {model: int(float(count)) for model, count in found}


def step(title: str) -> None:
    """Says what comes next."""
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() and "NO_COLOR" not in os.environ else ("", "")
    print(f"\n{bold}== {title}{plain}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
