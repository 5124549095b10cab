"""Tables as programs publish them: under their own titles, with rows of our own making.

Modules: launcher.foreign.sheet, launcher.foreign.sheet_columns, launcher.sheets.
"""

import string
from pathlib import Path
from typing import Any

import pytest

from launcher import foreign
from launcher.foreign.source import SourceRun
from tests.launcher.foreign.made import source

WIDE = {ord(letter): ord(letter) - 0x21 + 0xFF01 for letter in string.ascii_letters + string.digits}
"""Letters and digits as wide as Chinese ones."""

TABLES: list[tuple[str, str, list[str], dict[str, Any]]] = [
    # program, table, outcomes of the rows, what the first row states
    ("nemo",
     "Model,#-GPUs,GBS,MBS,Sequence Length,TP,PP,CP,VP,Tokens / sec / GPU,Model TFLOP / sec / GPU\n"
     "LLAMA2-7B,16,256,2,4096,2,1,1,1,9000,410\n",
     ["ok"], {"gpus": 16, "global_batch": 256, "micro_batch": 2, "seq_len": 4096, "tp": 2, "vpp": 1,
              "tokens_per_s": 144000, "stated_tflops_per_gpu": 410}),
    ("nemo of one quantization and another",
     "Model,#-GPUs,FSDP,TP,VP,Tokens / sec / GPU,Model TFLOP / sec / GPU\n"
     "LLAMA3_8B,8,1 (0),1 (2),n/a,**12000** (11000),[610](https://example.org/a)\n",
     ["ok"], {"gpus": 8, "zero": 3, "tp": 1, "vpp": None, "tokens_per_s": 96000,
              "stated_tflops_per_gpu": 610}),
    ("nemo automodel",
     "Model,#GPUs,GBS,MBS,LBS,GA,Seq Length,PP,EP,FSDP,Time per Global Step (s),Model TFLOPs/sec/GPU,"
     'Tokens/sec/GPU\nsome MoE 9B,64,1024,1,8,4,4096,4,16,16,8.25,201,"7,900"\n',
     ["ok"], {"micro_batch": 1, "ep": 16, "zero": 3, "dp": 16, "step_ms_p50": 8250,
              "stated_tflops_per_gpu": 201, "tokens_per_s": 505600}),
    ("nemo, fine tuning",
     "Model,Task,#-GPUs,GBS,MBS,Packed Sequence Length,TP,PP,Tokens / sec / GPU,"
     "Est. time to finetune in mins (10M tokens)\nLLAMA2-7B,SFT,8,32,1,4096,1,1,15000†,1.4\n",
     ["ok"], {"seq_len": 4096, "tokens_per_s": 120000}),
    ("llm-foundry",
     "Model,SeqLen (T),# GPUs,GPU,MFU,HFU,Model TFLOP,MicroBatchSize,GradAccum,GlobalBatchSize,"
     "Throughput (S/s),Throughput (T/s),Throughput (T/s/GPU),GlobalBatchSize (T),Precision,"
     "Sharding Strategy,Activation Checkpointing,NumParams\n"
     "7b,4096,16,h100_80gb,41.5,41.5,4.104E+14,4,2,128,20,82000,5125,524288,amp_bf16,FULL_SHARD,True,"
     "6700000000\n",
     ["ok"], {"seq_len": 4096, "gpus": 16, "mfu_pct": 41.5, "hfu_pct": 41.5, "micro_batch": 4,
              "global_batch": 128, "tokens_per_s": 82000, "stated_tflops_per_gpu": 410.4,
              "precision": "bf16", "zero": 3, "recompute": "full", "params_b": 6.7}),
    ("flagperf",
     "配置,precision,parallel,fix_hp,token/p/s,是否精度对齐,mem,MFU\n"
     "A100二机16卡\uff082x8\uff09,bf16,PP2DP4EP1TP2,global batchsize=512,2500.5,True(作为基线),61.5/80,45.1%\n"
     "A100单机8卡\uff081x8\uff09,/,/,/,/,/,/,/\n",
     ["ok", "failed"], {"nodes": 2, "gpus": 16, "pp": 2, "dp": 4, "ep": 1, "tp": 2, "global_batch": 512,
                        "tokens_per_s": 40008, "mem_max_gib": 61.5, "mfu_pct": 45.1}),
    ("libai",
     "group,case,lantency,memory,throuthput(sample/sec),Achieved teraFLOP/s per GPU,"
     "Percentage of theoretical peak FLOP/s,Achieved aggregate petaFLOP/s\n"
     "TP,,,,,,,\n,TP_1x8x1_16,512.5 (ms),12288 (MiB),31.2,47.5,38%,0.38\n",
     ["ok"], {"step_ms_p50": 512.5, "mem_max_gib": 12, "stated_tflops_per_gpu": 47.5, "hfu_pct": 38}),
    ("megatron-lm, scaling",
     "Model size,Attention heads,Hidden size,Number of layers,Tensor model-parallel size,"
     "Pipeline model-parallel size,Number of GPUs,Batch size,Achieved aggregate petaFLOP/s\n"
     "18B,48,6144,40,8,1,256,1024,35.4\n",
     ["ok"], {"params_b": 18, "tp": 8, "pp": 1, "gpus": 256, "global_batch": 1024,
              "stated_tflops_per_gpu": 138.28125}),
    ("megatron-lm, pull requests",
     'arm,TFLOP/s/GPU (median),"iter (ms, mean)",peak allocated,peak reserved,device memory used\n'
     'A overlap off,210.5,2650,"60,000 MB","65,536 MB","71,000 MB"\n',
     ["ok"], {"stated_tflops_per_gpu": 210.5, "step_ms_p50": 2650, "mem_max_gib": 65.536}),
    ("torchtitan, one dimension",
     'Techniques,TPS/GPU,Memory(GiB)\nFSDP,"5,100",70.4\nFSDP + torch.compile + Float8,"7,900",66.8\n',
     ["ok", "ok"], {"zero": 3, "mem_max_gib": 70.4}),
    ("torchtitan, several dimensions",
     'Parallelism,Sequence Length,TPS/GPU,Memory(GiB)\n"FSDP 4, TP 2, CP 4",65536,"1,000",80.1\n',
     ["ok"], {"dp": 4, "tp": 2, "cp": 4, "gpus": 32, "seq_len": 65536, "tokens_per_s": 32000, "zero": 3}),
    ("torchtitan, words a second",
     "Model size,Batch size,Activation checkpointing,WPS,MFU\n13B,2,selective layer,2000,57.5%[^1]\n"
     "70B,2,selective op,OOM,OOM\n",
     ["ok", "oom"], {"params_b": 13, "mfu_pct": 57.5, "recompute": None, "tokens_per_s": None}),
    ("torchao", "Model,Scaling,Peak Memory (GB),Median tokens/second (excluding step 1)\n"
     "Llama3-8b,tensorwise,47.1,7200.5\n",
     ["ok"], {"mem_max_gib": 47.1, "tokens_per_s": 7200.5}),
    ("nanotron",
     "dp,tp,pp,mbs,bs_tokens,seq_len,status,tok/s/gpu,model_tflops_per_gpu,peak_reserved_MiB\n"
     "8,4,1,2,4194304,4096,completed,18.5K,170,43008\n8,1,1,16,4194304,4096,oom,,,\n",
     ["ok", "oom"], {"gpus": 32, "global_batch": 1024, "tokens_per_s": 592000, "mem_max_gib": 42,
                     "stated_tflops_per_gpu": 170}),
    ("deepspeed", "ZeRO stage,GPUs,micro batch size,gradient accumulation steps,seq len,samples/sec,TFLOPs/GPU\n"
     "3,16,4,8,2048,20,151\n",
     ["ok"], {"zero": 3, "global_batch": 512, "tokens_per_s": 40960, "stated_tflops_per_gpu": 151}),
    ("fugaku", "Nodes,Size,DP,MP,PP,MBS,GBS,AC,Mem,Sec/it,TFLOPs,Notes\n"
     "48,30B,2,4,6,1,1536,Yes,16384 MiB,313.6,0.82,4/23\n"
     "48,30B,1,8,6,1,1536,No,29087.7 MiB (OOM),-,-,4/23\n24,30B,1,1,24,1,1536,Yes,- MiB,-,-,-\n",
     ["ok", "oom", "failed"], {"params_b": 30, "tp": 4, "mem_max_gib": 16, "step_ms_p50": 313600,
                               "recompute": "full", "nodes": 48}),
    ("colossal-ai", "Strategy,GPUs,Max model size\nzero3,8,TBD\n", ["failed"], {"zero": 3}),
    ("colossal-ai, throughput", "Strategy,Global batch size,Global throughput (samples/sec),"
     "Max CUDA memory allocated (MB)\nddp (AMP),24,11.5,37900.5\n",
     ["ok"], {"global_batch": 24, "mem_max_gib": 37.9005}),
    ("maxtext", "No. of params,Accelerator Type,TFLOP/chip/sec,Model flops utilization (MFU)\n"
     "32B,v5p-128,3.25e+02,70.75%\n",
     ["ok"], {"params_b": 32, "stated_tflops_per_gpu": 325, "mfu_pct": 70.75, "gpus": None}),
    ("maxtext, wide", "Hardware,16B TFLOP/sec/chip,16B MFU,32B TFLOP/sec/chip\n1x v5e-256,118,60.0%,130\n",
     ["ok"], {"gpus": None, "stated_tflops_per_gpu": None}),
    ("habana", "Framework,Model,# HPU,Precision,Throughput (tokens/sec),Batch size\n"
     'DeepSpeed,LLaMA 2 13B,16,bf16,"52,100 tokens/sec",256\n',
     ["ok"], {"tokens_per_s": 52100, "global_batch": 256}),
    ("internevo", "TP,Sequence Length,TGS,TFLOPS\n1,4096,4070,187\n", ["ok"],
     {"tp": 1, "stated_tflops_per_gpu": 187}),
    ("trainer", "per device batch size,gradient accumulation steps,GPUs,max_length,it/s,train_samples_per_second\n"
     "4,8,8,2048,0.25,64\n",
     ["ok"], {"global_batch": 256, "step_ms_p50": 4000, "tokens_per_s": 131072}),
    ("scaling of a cluster",
     "Nodes,GPUs,GBS,TPS/GPU,Total TPS,MFU\n4,48,96,\"7,000\",\"336,000\",27.5%\n64,768,\"1,536\",CRASH,—,—\n",
     ["ok", "failed"], {"nodes": 4, "tokens_per_s": 336000, "mfu_pct": 27.5}),
    ("status of jobs", "Job ID,TPS/GPU,GPUs,Memory,Status\n81,489,8,47.1 GiB,Walltime (12h)\n"
     "82,—,8,—,Queued\n83,—,8,—,Held (dep)\n84,500,8,47.1 GiB,clean\n",
     ["timeout", "pruned", "pruned", "ok"], {"tokens_per_s": 3912, "mem_max_gib": 47.1}),
    ("of one's own", "model,GPU,TP/PP/DP,step time,memory,utilization,mfu\n"
     "llama_7b,16,2/2/4,1m 20s,72.3 GB / 80 GB,high,0.41\nllama_7b,16,1/1/16,X,~79GB,,-\n",
     ["ok", "failed"], {"gpus": 16, "tp": 2, "pp": 2, "dp": 4, "step_ms_p50": 80000, "mem_max_gib": 72.3,
                        "mfu_pct": 41}),
    ("remarks as results", "model,n_gpus,Step time,Result\nllama_7b,8,42.2 s,Baseline\n"
     "llama_7b,8,43.0 s,\"Slower, not good\"\nllama_7b,8,43.0 s,hung twice\nllama_7b,8,,Baseline\n",
     ["ok", "ok", "hang", "failed"], {"step_ms_p50": 42200}),
    ("healthy notes", "gpus,tflops,notes\n8,300,NCCL 2.21 with CUDA graphs\n8,300,first 10 steps skipped\n"
     "8,300,partial recompute of frozen layers\n8,300,checkpoints on a local disk\n8,300,NCCL error\n"
     "8,300,no training slowdown\n8,300,disk full\n",
     ["ok", "ok", "ok", "ok", "nccl", "ok", "disk"], {}),
    ("full-width", "GPUs,TFLOPS,seq len\n16,305.5,8192\n".translate(WIDE), ["ok"],
     {"gpus": 16, "seq_len": 8192}),
    ("chinese", "模型,卡数,序列长度,吞吐量(tokens/s/卡),显存(GB)\nllama-7b,16,4096,2100,71.5\n", ["ok"],
     {"model": "llama-7b", "gpus": 16, "seq_len": 4096, "tokens_per_s": 33600, "mem_max_gib": 71.5}),
    ("mlperf", "Benchmark,Time to train (minutes),Accelerators,Accelerator\ngpt3,58.3,512,H100-SXM5-80GB\n", ["ok"],
     {"gpus": 512}),
    ("megatron-bridge, video", "System,GPUs,GBS,Seq Len,Parallelism (TP/SP/PP/CP),FSDP,TFLOP/s/GPU\n"
     'DGX-GB300,32,64,32768,2 / 1 / 1 / 4,0,"1,020.5"\n',
     ["ok"], {"gpus": 32, "tp": 2, "pp": 1, "cp": 4, "stated_tflops_per_gpu": 1020.5}),
    ("megatron-bridge, experiments", "Experiment,TP,PP,VPP,DP,TFLOP/s/GPU,vs Golden,Peak Mem (GB),Result\n"
     "Baseline,4,4,5,2,~700,-0.8%,58.8,OOM (fragmentation)\nMore PP,4,8,5,1,~660,-5.9%,53.2,\"Passes, slower\"\n"
     "Offload,4,4,5,2,N/A,N/A,N/A,Incompatible with PP > 1\n",
     ["oom", "ok", "failed"], {"gpus": 32, "stated_tflops_per_gpu": 700}),
    ("primus, projections", "Model,Precision,Batch,SeqLen,FSDP,TP,Measured 8-Node (tok/s/GPU),Projected 8-Node (tok/s/GPU),"
     'Error\nLlama 3.1 8B,FP8,2,8192,No,1,"16,100","17,300",+7.2%\n',
     ["ok"], {"precision": "fp8", "zero": None, "tokens_per_s": None}),
    ("primus, pipelines", "PP,VPP,PP-algorithm,tokens/s/device,TFLOPS,max_memory,max_mem_percent\n"
     "8,1,1f1b,10100,235.5,16.25,8.4%\n",
     ["ok"], {"pp": 8, "vpp": 1, "stated_tflops_per_gpu": 235.5, "mem_max_gib": 16.25}),
    ("litgpt", "Size,Model,Quantization,Microbatch size,Trainable parameters,GPU,Max GPU RAM,Time 1k iterations\n"
     '1.3 B,phi-1.5,None,1,"1,570,000",2 x A100,4.75 GB,3.8 min\n40 B,Falcon,None,1,"12,000,000",2 x A100,OOM,-\n',
     ["ok", "oom"], {"params_b": 1.3, "micro_batch": 1, "gpus": 2, "mem_max_gib": 4.75, "step_ms_p50": None}),
    ("lightning-thunder", "Setting,Compiler,Devices,ms/iter @ step 10,Memory (GB)\nFully-sharded ZeRO 3,Eager,8,456.5,22.25\n",
     ["ok"], {"gpus": 8, "zero": 3, "step_ms_p50": 456.5, "mem_max_gib": 22.25}),
    ("bigscience", "NNODES,TP,PP,DP,Mic-BS,Glob-BS,Speed,TFlops,Notes\n2,1,1,8,48,768,127s,40.5,\n2,1,1,8,64,,OOM,,16GB\n",
     ["ok", "oom"], {"nodes": 2, "micro_batch": 48, "global_batch": 768, "step_ms_p50": 127000,
                     "stated_tflops_per_gpu": 40.5}),
    ("dlperf", "node_num,gpu_num_per_node,batch_size_per_device,samples/s(PyTorch),speedup\n4,8,32,920.5,7.7\n",
     ["ok"], {"nodes": 4, "gpus": 32, "micro_batch": 32}),
    ("colossal-ai, cards", "GPU,GPUs,Model Size,Parallelism,Batch Size per DP,Seqlen,Throughput,TFLOPS/GPU,Peak Mem(MiB)\n"
     "H200,8,7B,zero2(dp8),36,4096,17 samp/s,530,118784\n",
     ["ok"], {"gpus": 8, "dp": 8, "zero": 2, "tokens_per_s": 69632, "stated_tflops_per_gpu": 530, "mem_max_gib": 116}),
    ("ms-swift", "模型大小,NPU数量,deepspeed类型,最大显存占用量\n14B,8,zero3,8 * 22 GB\n",
     ["ok"], {"params_b": 14, "gpus": 8, "zero": 3, "mem_max_gib": 22}),
    ("ascend", "芯片,卡数,参数规模,seq_length,global_batch_size,单步迭代时间 (s/step),tokens吞吐 (tokens/s/p)\n"
     "GPU,16p,34B,4096,32,10.5,750\nAtlas A2,16p,34B,4096,64,-,-\n",
     ["ok", "failed"], {"gpus": 16, "params_b": 34, "step_ms_p50": 10500, "tokens_per_s": 12000}),
    ("flagperf, old", "训练资源,配置文件,运行时长(s),目标精度,收敛精度,Steps数,性能(samples/s)\n"
     "单机8卡,config_x,,0.67,0.6751,14900,1025.5\n两机16卡,config_y,,,,,\n",
     ["ok", "failed"], {"gpus": 8, "steps": 14900, "precision": None}),
    ("llama 3", "Configuration,GPUs,TP,CP,PP,DP,Seq Len,Batch/DP,Tokens/Batch,TFLOPs/GPU,BF16 MFU\n"
     'Pre-training 8K,"8,192",8,1,16,64,"8,192",32,16M,430,43%\n',
     ["ok"], {"gpus": 8192, "global_batch": 2048, "stated_tflops_per_gpu": 430, "mfu_pct": 43}),
    ("mlperf, columns of minutes", "ID,Submitter,#Nodes,#Accelerators,llama31_405b (minutes)\n5.0-1,NVIDIA,128,512,84.5\n",
     ["ok"], {"nodes": 128, "gpus": 512}),
    ("active and reserved", "Global batch,TFLOPs/GPU,TPS/GPU,Peak active / reserved\n4M,600.5,406.5k,200.8 / 203.5 GiB\n",
     ["ok"], {"stated_tflops_per_gpu": 600.5, "mem_max_gib": 203.5}),
    ("arctic", "GPUs,Seq Len,Peak mem,iteration time,TFLOPS\n8,3.7M,77.5 GB,1h:47m:30s,590\n1,33K,OOM,,\n",
     ["ok", "oom"], {"seq_len": 3879731, "step_ms_p50": 6450000, "mem_max_gib": 77.5}),
    ("mindspeed", "模型,参数,序列,集群,模式,tokens/s/p,MFU\nLLaMA2,7B,4K,2x8,pretrain,4000,58%\n",
     ["ok"], {"model": "LLaMA2", "params_b": 7, "seq_len": 4096, "nodes": 2, "gpus": 16, "tokens_per_s": 64000}),
    ("paddle", "模型,序列长度,硬件,并行策略,吞吐(tokens/card/sec),显存占用\nours,4096,A800 8卡,tp2pp2,3750,66.5G\n",
     ["ok"], {"gpus": 8, "tp": 2, "tokens_per_s": 30000, "mem_max_gib": 66.5}),
    ("japanese", "モデル,GPU数,シーケンス長,TFLOPS,結果\nours,8,4096,300,成功\nours,8,4096,,OOM\n",
     ["ok", "oom"], {"model": "ours", "gpus": 8, "seq_len": 4096}),
    ("internevo, batches", "TP,Activation Ckpt,GPU Num,Seq Len,Micro Bsz,Micro Num,Global Bsz,TGS,TFLOPS\n"
     "1,TRUE,8,2048,8,1,0.125M,3300,193\n",
     ["ok"], {"recompute": "full", "micro_batch": 8, "global_batch": 64, "tokens_per_s": 26400}),
    ("variants as columns", "Model,Without FlashAttention,FlashAttention-2\nours 1.3B,142 TFLOPs/s,196 TFLOPs/s\n",
     ["ok"], {"stated_tflops_per_gpu": None}),
    ("ticks", "gpus,tp,TPS/GPU,Status\n8,2,5000,\u2705\n8,4,,\u274c\n8,8,,\u274c OOM\n8,1,4000,\u2713 stable\n",
     ["ok", "failed", "oom", "ok"], {}),
    ("torchtitan on a cluster", "Nodes,GPUs,GBS,Job ID,TPS/GPU,TFLOPS,MFU,Memory,Loss (final),Status\n"
     "2,24,24,81,440,65.5,22.0%,32.25 GiB (50%),9.5,\u2705 Complete\n4,48,—,—,—,—,—,—,—,Pending\n",
     ["ok", "pruned"], {"loss_last": 9.5, "tokens_per_s": 10560, "mem_max_gib": 32.25}),
    ("differences", "Configuration,Average TPS,TFLOPs,MFU\nEP=2,5900,138,6.25%\n**Difference**,**-25%**,-25%,-25%\n",
     ["ok"], {"ep": 2, "mfu_pct": 6.25}),
    ("bounds", "gpus,TFLOPs/GPU,mem\n8,>180,<80GB\n", ["ok"], {"stated_tflops_per_gpu": None}),
    ("sums and footnotes", "model,gpus,tflops\nours,8,300*\nours,16,310†\nAverage,,305\nTotal:,24,\n* on DGX,,\n",
     ["ok", "ok"], {"stated_tflops_per_gpu": 300}),
    ("validation in chinese", "gpus,tflops,验证loss\n8,300,2.1\n", ["ok"], {"loss_last": None}),
    ("memory alone", "Model,Batch size,Peak memory (GB)\n7B,1,41.2\n7B,64,OOM\n", ["ok", "oom"],
     {"mem_max_gib": 41.2}),
    ("speedup alone", "model,tp,speedup,peak TFLOPS\nllama_7b,2,1.09,989\n", ["failed"],
     {"stated_tflops_per_gpu": None}),
]  # fmt: skip


def rows(path: Path, text: str) -> list[SourceRun]:
    path.write_text(text, encoding="utf-8")
    return foreign.read(source(path))


def stated(run: SourceRun, name: str) -> Any:
    imported = run.imported
    if name == "stated_tflops_per_gpu":
        return imported.stated_tflops_per_gpu
    return getattr(imported.known if hasattr(imported.known, name) else imported.figures, name)


@pytest.mark.parametrize(
    ("text", "outcomes", "columns"), [row[1:] for row in TABLES], ids=[row[0] for row in TABLES]
)
def test_published_tables(
    tmp_path: Path, text: str, outcomes: list[str], columns: dict[str, Any]
) -> None:
    runs = rows(tmp_path / "table.csv", text)
    assert [run.imported.outcome for run in runs] == outcomes
    for name, expected in columns.items():
        value = stated(runs[0], name)
        assert value == (pytest.approx(expected) if isinstance(value, float) else expected), name


def test_tables_of_a_page_of_markdown(tmp_path: Path) -> None:
    page = (
        "# Performance\n\nA line | with a bar.\n\n### DGX-H100\n\n| Model | #-GPUs | Tokens / sec / GPU |\n"
        "| :--- | ---: | --- |\n| LLAMA3_8B | 8 | **12000** |\n\nWords.\n\n### DGX-B200\n\n"
        "Model | #-GPUs | Memory (GB)\n--- | --- | ---\nLLAMA3_70B | 64 | 70.5\n\n| a | b |\n|---|---|\n| c | d |\n"
    )
    runs = rows(tmp_path / "page.md", page)
    assert [run.imported.known.model for run in runs] == ["LLAMA3_8B", "LLAMA3_70B"]
    assert [run.imported.figures.tokens_per_s for run in runs] == [96000, None]
    assert [run.imported.figures.mem_max_gib for run in runs] == [None, 70.5]
    assert runs[0].remarks == ("not read: section",)


def test_what_contradicts_itself_is_said(tmp_path: Path) -> None:
    (run,) = rows(tmp_path / "runs.csv", "gpus,dp,tp,pp,cp,tflops\n64,4,2,2,1,300\n")
    assert run.imported.known.gpus == 64
    assert run.remarks == ("row 1: 64 gpus, but dp 4 x tp 2 x pp 2 x cp 1 is 16",)


def test_the_cell_of_a_fault_is_the_cause(tmp_path: Path) -> None:
    (run,) = rows(tmp_path / "runs.csv", "gpus,step_s,tflops,notes\n8,OOM,,16GB cards\n")
    assert (run.imported.cause, run.imported.remark) == ("OOM", "16GB cards")


def test_a_column_without_a_title_is_told(tmp_path: Path) -> None:
    (run,) = rows(tmp_path / "runs.csv", ",gpus,tflops,FSDP\nbaseline,8,300,No\n")
    assert run.remarks == ("not read: a column without a title",)


def test_a_remark_in_a_column_of_results_is_kept(tmp_path: Path) -> None:
    (run,) = rows(tmp_path / "runs.csv", "gpus,step_s,Result,notes\n8,4.2,Baseline,night\n")
    assert (run.imported.cause, run.imported.remark) == (None, "Baseline; night")
