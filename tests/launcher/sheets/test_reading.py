"""A row under our columns: figures, cells of several values, arguments."""

import pytest

from launcher.sheets import reading


@pytest.mark.parametrize(
    ("title", "text", "name", "value"),
    [
        ("latency", "417.95 (ms)", "step_s", 0.41795), ("latency", "417", "speed", 417),
        ("step time", "1h 20m", "step_s", 4800), ("iter (ms, mean)", "2,839", "step_s", 2.839),
        ("s/it", "3.2 s/it", "step_s", 3.2), ("it/s", "0.25", "steps_per_s", 0.25),
        ("mem", "75/80", "mem_gb", 75), ("mem", "72.3 GB / 80 GB", "mem_gb", 72.3),
        ("mem", "68,392 MB", "mem_gb", 68.392), ("mem", "70-75 GB", "mem_gb", 75), ("mem", "~70GB", "mem_gb", 70),
        ("Memory [MiB]", "43008", "mem_gb", 42), ("mem", "16.99 GiB (26.55%)", "mem_gb", 16.99),
        ("MFU", "20.7%", "mfu_pct", 20.7), ("MFU", "~8.8%", "mfu_pct", 8.8),
        ("Throughput", "142 tokens/s/GPU", "tokens_per_s_per_gpu", 142), ("Throughput", "0.5 it/s", "steps_per_s", 0.5),
        ("Throughput", "661ms", "step_s", 0.661), ("Speed", "127s", "step_s", 127), ("Speed", "29", "speed", 29),
        ("Throughput", "17.13 samp/s", "samples_per_s", 17.13), ("mem", "8 * 22 GB", "mem_gb", 22),
        ("Max Throughput per GPU", "9.29 TFLOPS", "stated_tflops_per_gpu", 9.29),
        ("Throughput per GPU", "5,100 tokens/s", "tokens_per_s_per_gpu", 5100),
        ("Peak active / reserved", "200.8 / 203.7 GiB", "mem_gb", 203.7), ("Peak reserved", "60 / 80 GiB", "mem_gb", 60),
        ("Throughput", "417 TFLOP/s", "stated_tflops_per_gpu", 417), ("Throughput", "142", "speed", 142),
        ("tokens/s", "48k", "tokens_per_s", 48000), ("ktok/s", "48", "tokens_per_s", 48000),
        ("tokens/s", "4,809.4 \u00b1 12", "tokens_per_s", 4809.4), ("TFLOPs", "3.28e+02", "stated_tflops_per_gpu", 328),
        ("Model TFLOP", "2.961077E+14", "stated_tflops_per_gpu", 296.1077), ("PFLOP/s", "0.38", "stated_tflops", 380),
    ],
)  # fmt: skip
def test_a_figure_below_its_title(title: str, text: str, name: str, value: float) -> None:
    assert reading.measured({title: text})[name] == pytest.approx(value)


@pytest.mark.parametrize(
    ("title", "text"),
    [("MFU", "25.4%-50.6%"), ("tokens/s", "OOM"), ("tokens/s", "X"), ("mem", "- MiB"), ("mem", "/"), ("MFU", "—"),
     ("tokens/s", "0"), ("tokens/s", "<100"), ("TFLOPs", "312 GB")],
)  # fmt: skip
def test_a_cell_without_a_figure(title: str, text: str) -> None:
    assert reading.measured({title: text}) == {}


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"parallel": "PP2DP2EP1TP8"}, {"pp": "2", "dp": "2", "ep": "1", "tp": "8"}),
        ({"Parallelism": "TP=4, PP=2"}, {"tp": "4", "pp": "2"}),
        ({"config": "tp4pp2dp8"}, {"tp": "4", "pp": "2", "dp": "8"}),
        ({"Best config": "TP=4+FSDP=8"}, {"tp": "4", "dp": "8", "zero_stage_or_strategy": "fsdp"}),
        ({"Parallelism": "FSDP 8, TP 2, CP 4"},
         {"dp": "8", "tp": "2", "cp": "4", "zero_stage_or_strategy": "fsdp"}),
        ({"config": "FSDP2 + TP 2"}, {"dp": None, "tp": "2", "zero_stage_or_strategy": "fsdp"}),
        ({"config": "dp-16_tp-4_pp-1_mbz-2"}, {"dp": "16", "tp": "4", "pp": "1", "micro_batch": "2"}),
        ({"Techniques": "FSDP + torch.compile + Float8"},
         {"zero_stage_or_strategy": "fsdp", "precision": "float8"}),
        ({"setup": "ZeRO-3, full AC, bf16"},
         {"zero_stage_or_strategy": "zero-3", "recompute": "full", "precision": "bf16"}),
        ({"TP/PP/DP": "8/4/1"}, {"tp": "8", "pp": "4", "dp": "1"}),
        ({"(TP, PP, CP)": "(8, 4, 2)"}, {"tp": "8", "pp": "4", "cp": "2"}),
        ({"TP x PP": "8x4"}, {"tp": "8", "pp": "4"}),
        ({"TPxPPxDP": "8x4x2"}, {"tp": "8", "pp": "4", "dp": "2"}),
        ({"Parallelism (TP/PP)": "8/4"}, {"tp": "8", "pp": "4"}),
        ({"Framework": "DeepSpeed ZeRO-3"}, {"backend": "DeepSpeed ZeRO-3", "zero_stage_or_strategy": "zero-3"}),
        ({"Framework": "ZeRO-3", "zero": "1"}, {"zero_stage_or_strategy": "zero 1"}),
        ({"batch": "0.5M"}, {"global_batch": "0.5M tokens"}),
        ({"layers": "8/4/1"}, {"tp": None}),
        ({"run": "tp8_pp4"}, {"tp": None}),  # a name is not parsed
        ({"config": "tp8", "tp": "4"}, {"tp": "4"}),  # a column has the last word
        ({"model": "llama tp8"}, {"tp": None}),
        ({"FSDP": "1"}, {"zero_stage_or_strategy": "fsdp", "dp": None}),
        ({"FSDP": "1 (0)"}, {"zero_stage_or_strategy": "fsdp"}),
        ({"FSDP": "True"}, {"zero_stage_or_strategy": "fsdp"}),
        ({"FSDP": "64"}, {"zero_stage_or_strategy": "fsdp", "dp": "64"}),
        ({"FSDP": "0"}, {"zero_stage_or_strategy": None}),
        ({"fix_hp": "global batchsize=1200"}, {"global_batch": "1200"}),
        ({"fix_hp": "GAS=512(GBS=1024=4M tokens)"}, {"accumulation": "512"}),
        ({"GPU": "16"}, {"n_gpus": "16", "hardware": None}),
        ({"GPU": "h100"}, {"n_gpus": None, "hardware": "h100"}),
        ({"Model size": "LLaMA-7B"}, {"model": "LLaMA-7B", "params_b": None}),
        ({"Size": "G/14", "Number of Parameters": "1.85B"}, {"model": "G/14", "params_b": "1.85B"}),
        ({"Parallelism (TP/SP/PP/CP)": "1 / 0 / 1 / 2"}, {"tp": "1", "seq_parallel": "0", "pp": "1", "cp": "2"}),
        ({"Topology": "cp8ep4"}, {"cp": "8", "ep": "4"}),
        ({"Training [TP,CP,EP,PP,VPP]": "[2,1,1,4,1]", "Generation [TP,PP]": "[8,8]"}, {"tp": "2", "pp": "4", "vpp": "1"}),
        ({"Use LoRA": "Yes"}, {"task": "Use LoRA"}), ({"Use LoRA": "No"}, {"task": None}),
        ({"Config": "falcon-7b/lora.yaml"}, {"task": "lora"}),
        ({"Method": "ZeRO-3"}, {"zero_stage_or_strategy": "zero-3"}),
        ({"GPUs": "16p"}, {"n_gpus": "16"}),
        ({"Batch size": "4", "GPUs": "8"}, {"micro_batch": "4", "global_batch": None}),
        ({"Batch size": "4", "GPUs": "8", "TP": "4"}, {"micro_batch": None, "global_batch": "4"}),
        ({"GBS": "4", "GPUs": "8"}, {"micro_batch": None, "global_batch": "4"}),
        ({"Model size": "22B"}, {"model": None, "params_b": "22B"}),
        ({"LBS": "8", "MBS": "1"}, {"micro_batch": "1"}),
        ({"LBS": "8"}, {"micro_batch": "8"}),
        ({"it/s": "0.5"}, {"step_s": "2"}),
        ({"peak allocated": "60 GB", "device memory used": "70 GB"}, {"mem_gb": "60", "mem_kind": "allocated"}),
        ({"GlobalBatchSize (T)": "1048576"}, {"global_batch": "1048576 tokens"}),
        ({"Parameters (M)": "350"}, {"params_b": "350M"}),
        ({"SeqLen (K)": "64"}, {"seq_len": "64k"}),
        ({"recompute_modules": "[core_attn]"}, {"recompute": None, "recompute_modules": "core_attn"}),
        ({"recompute-num-layers": "4"}, {"recompute_layers": "4"}),
    ],
)  # fmt: skip
def test_what_a_row_states(row: dict[str, str], columns: dict[str, str | None]) -> None:
    normal = reading.normalized(row)
    stated = {
        name: None if name in row and columns[name] is None else normal.get(name)
        for name in columns
    }
    assert stated == columns
