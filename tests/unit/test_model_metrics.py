"""Triton's counters of each model, and our series made from them."""

from prometheus_client.parser import text_string_to_metric_families

from orchestrator.server.model_metrics import ModelCounts, counts_of, model_page

PAGE = b"""\
# HELP nv_inference_request_success Number of successful inference requests, all batch sizes
# TYPE nv_inference_request_success counter
nv_inference_request_success{model="Ocr.recognizer",version="1"} 6
nv_inference_request_success{model="Ocr.recognizer",version="2"} 1
nv_inference_request_success{model="Ocr",version="1"} 0
nv_inference_request_success{model="Ocr.read",version="1"} 9
nv_inference_count{model="Ocr.recognizer",version="1"} 40
nv_inference_count{gpu_uuid="GPU-a",model="Ocr.recognizer",version="2"} 3
nv_inference_count{gpu_uuid="GPU-b",model="Ocr.recognizer",version="2"} 5
nv_inference_count{model="Ocr",version="1"} 0
nv_inference_exec_count{model="Ocr.recognizer",version="1"} 5
nv_inference_exec_count{gpu_uuid="GPU-a",model="Ocr.recognizer",version="2"} 1
nv_inference_exec_count{gpu_uuid="GPU-b",model="Ocr.recognizer",version="2"} 1
nv_inference_exec_count{model="Ocr",version="1"} 0
nv_inference_queue_duration_us{model="Ocr.recognizer",version="1"} 3e+06
nv_inference_queue_duration_us{model="Ocr.recognizer",version="2"} 250
nv_cpu_utilization 0.25
"""
MODELS = ("Ocr", "Ocr.recognizer")


def test_counters_are_read_by_model_and_version() -> None:
    assert counts_of(PAGE, MODELS) == {
        ("Ocr", "1"): ModelCounts(),
        ("Ocr.recognizer", "1"): ModelCounts(rows=40, batches=5, requests=6, queue_us=3_000_000),
        ("Ocr.recognizer", "2"): ModelCounts(rows=8, batches=2, requests=1, queue_us=250),
    }
    assert counts_of(b"# Triton's metrics cannot be read at the moment\n", MODELS) == {}


def test_sums_and_counts_are_there_and_means_of_what_has_run() -> None:
    page = model_page(counts_of(PAGE, MODELS), namespace="mine").decode()
    values = {
        (sample.name, sample.labels["model"], sample.labels["version"]): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    first, second, idle = ("Ocr.recognizer", "1"), ("Ocr.recognizer", "2"), ("Ocr", "1")
    assert values == {
        ("mine_model_batch_size_sum", *first): 40,
        ("mine_model_batch_size_count", *first): 5,
        ("mine_model_batch_size_mean", *first): 8,
        ("mine_model_queue_seconds_sum", *first): 3,
        ("mine_model_queue_seconds_count", *first): 6,
        ("mine_model_queue_seconds_mean", *first): 0.5,
        ("mine_model_batch_size_sum", *second): 8,
        ("mine_model_batch_size_count", *second): 2,
        ("mine_model_batch_size_mean", *second): 4,
        ("mine_model_queue_seconds_sum", *second): 0.00025,
        ("mine_model_queue_seconds_count", *second): 1,
        ("mine_model_queue_seconds_mean", *second): 0.00025,
        ("mine_model_batch_size_sum", *idle): 0,
        ("mine_model_batch_size_count", *idle): 0,
        ("mine_model_queue_seconds_sum", *idle): 0,
        ("mine_model_queue_seconds_count", *idle): 0,
    }
