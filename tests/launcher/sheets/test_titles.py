"""Titles of measured columns, by the words in them."""

import pytest

from launcher.sheets import titles


@pytest.mark.parametrize(
    ("title", "name", "unit"),
    [
        ("Tokens / sec / GPU", "tokens_per_s_per_gpu", ""), ("token/p/s", "tokens_per_s_per_gpu", ""),
        ("Throughput (T/s/GPU)", "tokens_per_s_per_gpu", ""), ("TPS/GPU", "tokens_per_s_per_gpu", ""),
        ("Approx tokens/sec/device", "tokens_per_s_per_gpu", ""), ("TGS", "tokens_per_s_per_gpu", ""),
        ("Throughput (T/s)", "tokens_per_s", ""), ("Average tokens/second", "tokens_per_s", ""),
        ("Median tokens/second (excluding step 1)", "tokens_per_s", ""), ("Total TPS", "tokens_per_s", ""),
        ("ktok/s", "tokens_per_s", "k"), ("tokens/s job", "tokens_per_s", ""),
        ("TPS", "speed", ""), ("WPS", "speed", ""), ("Throughput", "speed", ""),
        ("Throughput (S/s)", "samples_per_s", ""), ("throuthput(sample/sec)", "samples_per_s", ""),
        ("train_samples_per_second", "samples_per_s", ""), ("samples/s/GPU", "samples_per_s_per_gpu", ""),
        ("it/s", "steps_per_s", ""), ("steps_per_sec", "steps_per_s", ""), ("Speed (it/s)", "steps_per_s", ""),
        ("s/it", "step_s", "s"), ("iter (ms, mean)", "step_s", "ms"), ("Time per Global Step (s)", "step_s", "s"),
        ("elapsed time per iteration (ms)", "step_s", "ms"), ("step p50 (ms)", "step_s", "ms"),
        ("latency", "step_s", titles.CELL), ("lantency", "step_s", titles.CELL), ("latency (ms)", "step_s", "ms"),
        ("Model TFLOP / sec / GPU", "stated_tflops_per_gpu", "t"), ("Model TFLOP", "stated_tflops_per_gpu", "t"),
        ("TFLOP/s/GPU (median)", "stated_tflops_per_gpu", "t"), ("TFLOP/chip/sec", "stated_tflops_per_gpu", "t"),
        ("Achieved teraFLOP/s per GPU", "stated_tflops_per_gpu", "t"), ("TFLOPS (BF16)", "stated_tflops_per_gpu", "t"),
        ("FLOP/s", "stated_tflops_per_gpu", "1"),
        ("Achieved aggregate petaFLOP/s", "stated_tflops", "p"), ("PetaFLOPs", "stated_tflops", "p"),
        ("MFU", "mfu_pct", ""), ("MFU (%)", "mfu_pct", ""), ("Model flops utilization (MFU)", "mfu_pct", ""),
        ("HFU", "hfu_pct", ""), ("Percentage of theoretical peak FLOP/s", "hfu_pct", ""),
        ("mem", "mem_gb", ""), ("Memory(GiB)", "mem_gb", "gib"), ("Memory/GPU", "mem_gb", ""),
        ("Max CUDA memory allocated (MB)", "mem_gb", "mb"), ("peak_reserved_MiB", "mem_gb", "mib"),
        ("device memory used", "mem_gb", ""), ("Peak active GiB", "mem_gb", "gib"),
        ("\u663e\u5b58(GB)", "mem_gb", "gb"), ("Max GPU RAM", "mem_gb", ""), ("Peak HBM", "mem_gb", ""), ("Total Step time(s)", "step_s", "s"),
        ("Stable tokens/s", "tokens_per_s", ""), ("最大显存占用量", "mem_gb", ""),
        ("TFLOP/s/dev", "stated_tflops_per_gpu", "t"), ("floating point operation (TFLOPs/s)", "stated_tflops_per_gpu", "t"),
        ("浮点计算数 (TFLOPs/s)", "stated_tflops_per_gpu", "t"), ("ms/iter @ step 10", "step_s", "ms"),
        ("Seconds per step (lower is better)", "step_s", "s"), ("单步迭代时间 (s/step)", "step_s", "s"),
        ("Memory (GB) \u2193", "mem_gb", "gb"), ("TGS (tokens/gpu/sec)", "tokens_per_s_per_gpu", ""),
        ("Max Throughput per GPU", "speed_per_gpu", ""), ("样本吞吐 (samples/s)", "samples_per_s", ""), ("**TGS**", "tokens_per_s_per_gpu", ""),
    ],
)  # fmt: skip
def test_figures(title: str, name: str, unit: str) -> None:
    measure = titles.measure(title)
    assert measure and (measure.name, measure.unit) == (name, unit)


@pytest.mark.parametrize(
    "title",
    ["Est. time to train in days (10T tokens, 1K GPUs)", "Time to 10M Tokens", "speedup", "peak TFLOPS",
     "theoretical TFLOPs", "activation memory (GB)", "mem_min_gb", "memory saved", "CPU memory", "FLOPs",
     "steps", "Steps (s)", "T (s)", "s/token", "step_ms_p95", "tokens", "samples", "batch size", "sequence length",
     "GPU", "model", "time", "loss", "MFU vs baseline", "RAM (GB)", "CPU RAM", "Total time (s)", "Iter/hr", "pred_mem_gib", "memory bandwidth", ""],
)  # fmt: skip
def test_titles_that_name_no_figure(title: str) -> None:
    assert titles.measure(title) is None


def test_the_best_of_several_titles_comes_first() -> None:
    row = dict.fromkeys(("device memory used", "peak allocated", "memory", "peak reserved"), "1")
    assert [title for title, _ in titles.figures(row)] == [
        "peak reserved",
        "memory",
        "peak allocated",
        "device memory used",
    ]
    flops = dict.fromkeys(("hardware_tflops_per_gpu", "TFLOPs", "model_tflops_per_gpu"), "1")
    assert next(titles.figures(flops))[0] == "model_tflops_per_gpu"
