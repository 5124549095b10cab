"""Logs of runs that did all their steps: none of them is taken for one that failed.

Each has some of the noise that healthy runs print: warnings, retries, quoted names of errors.
"""

from pathlib import Path

import pytest

from tests.launcher.foreign.made import read

NOISE = (
    "/usr/lib/python3/site-packages/torch/x.py:1: UserWarning: CUDA out of memory is likely with this setting\n"
    "[W socket.cpp:601] [c10d] The client socket has failed to connect to [n1]:29500 (errno: 111 - Connection refused).\n"
    "export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True  # against OutOfMemoryError\n"
    "NCCL version 2.21.5+cuda12.4\n"
    "  nan_check ....................................... True\n"
)
DUMP = (
    "------------------------ arguments ------------------------\n"
    "  check_for_nan_in_loss_and_grad .................. True\n"
    "  exit_on_oom ..................................... False\n"
    "  distributed_timeout_minutes ..................... 10\n"
    "  train_iters ..................................... 3\n"
    "-------------------- end of arguments ---------------------\n"
)


def repeated(line: str, numbers: tuple[int, ...] = (1, 2, 3)) -> str:
    return "".join(line.format(number) for number in numbers)


CORE = (
    " [2025-09-05 16:08:1{0}] iteration        {0}/       3 | consumed samples:          128 | elapsed time per iteration"
    " (ms): 794.9 | throughput per GPU (TFLOP/s/GPU): 180.0 | learning rate: 2.9E-05 | global batch size:   128 |"
    " lm loss: 2.6E+00 | loss scale: 1.0 | grad norm: 0.258 | number of skipped iterations:   0 | number of nan"
    " iterations:   0 |\n"
)
SCALE = (
    " iteration        {0}/       3 | elapsed time per iteration (ms): 5.5 | learning rate: 0.0E+00 | loss scale:"
    " 4294967296.0 | number of skipped iterations:   1 | number of nan iterations:   0 |\n"
)
MDS = (
    " iteration        {0}/       3 | consumed samples:       152832 | consumed tokens:    625999872 | elapsed time per"
    " iteration (ms): 14287.5 | learning rate: 2.4E-04 | global batch size:   768 | lm loss: 5.9E+00 | loss scale: 8192.0 |"
    " number of skipped iterations:   0 | number of nan iterations:   0 | samples per second: 53.753 | TFLOPs: 69.85 |\n"
)
NEOX = (
    " samples/sec: 51.234 | iteration        {0}/       3 | elapsed time per iteration (ms): 9876.5 | learning rate:"
    " 1.2E-04 | approx flops per GPU: 150.3TFLOPS | lm_loss: 7.1E+00 | number of skipped iterations:   0 | number of nan"
    " iterations:   0 |\n"
)
TITAN = (
    "[titan] 2025-11-25 19:45:0{0},441 - root - INFO - step:  {0}  loss:  8.0277  grad_norm:  1.4604  memory: "
    " 1.21GiB(0.86%)  tps: 5,756  tflops: 0.41  mfu: 0.04%\n"
)
NEMO = (
    "Training epoch 0, iteration {0}/3 | lr: 2e-05 | global_batch_size: 128 | global_step: {0} | reduced_train_loss:"
    " 11.9 | train_step_timing in s: 6.08 | consumed_samples: 256\n"
)
BAR = "Epoch 0: :  33%|▎   | {0}/3 [00:07<04:40, loss=10.9, v_num=, reduced_train_loss=10.90, global_step=0.000]\n"
HF = "{{'loss': 7.1, 'grad_norm': 1.25, 'learning_rate': 5e-05, 'epoch': 0.{0}}}\n"
HF_BAR = " 33%|###   | {0}/3 [00:0{0}<00:20, 10.00s/it]\n"
RUNNING = "***** Running training *****\n  Total optimization steps = 3\n"
ENGINE = "[2023-11-07 01:55:23,711] [INFO] [logging.py:96:log_dist] [Rank 0] step={0}, skipped=0, lr=[4.9e-05], mom=[(0.9, 0.95)]\n"
EXITS = "[2023-11-07 01:56:00,000] [INFO] [launch.py:347:main] Process 7 exits successfully.\n"
NANOTRON = (
    "05/10/2024 09:30:0{0} [INFO|DP=0|PP=1|TP=0]: iteration: {0} / 3 | consumed_tokens: 1K |"
    " elapsed_time_per_iteration_ms: 1.1K | tokens_per_sec: 45.6K | tokens_per_sec_per_gpu: 11.4K | global_batch_size: 128 |"
    " lm_loss: 7.5 | lr: 0.0003 | model_tflops_per_gpu: 38.3 | hardware_tflops_per_gpu: 40.1 | grad_norm: 1.25\n"
)
INTERN = "tflops=150.5 step={0} loss=3.0 tgs (tokens/gpu/second)=2000.0 lr=4e-07 loss_scale=65536.0 grad_norm={{'0_default': 3.0}} loss/cn=nan\n"
AUTO = "2025-11-03 10:00:0{0} | INFO | root | step {0} | epoch 0 | loss 2.5 | grad_norm 1.5 | lr 1.00e-05 | mem 11.66 GiB | tps 8000.00(2000.00/gpu) | num_label_tokens 4653\n"
BRIDGE = "Step Time : 0.79s GPU utilization: 663.5MODEL_TFLOP/s/GPU\n" + CORE
DONE = "[after training is done] datetime: 2023-08-27 10:00:00 \n"
LATE = (
    "wandb: Synced 5 files\n[rank0]:[W ProcessGroupNCCL.cpp:1250] Warning: WARNING: process group has NOT been destroyed\n"
    "terminating the server: received SIGTERM, exiting\n"
)

CLEAN = [
    ("megatron", "core", DUMP + repeated(CORE)),
    ("megatron", "today", DUMP + repeated(CORE.replace(":1{0}]", ":1{0}.123456]"))),
    ("megatron", "search for a scale", DUMP + repeated(SCALE, (1, 2)) + CORE.format(3)),
    ("megatron", "behind torchrun", "".join(f"[default7]:{line}\n" for line in (DUMP + repeated(CORE)).splitlines())),
    ("megatron", "behind a CI", "".join(f"2026-04-03T12:15:50.1Z 4-task-1-0/0 [default7]: {line}\n" for line in repeated(CORE).splitlines())),
    ("megatron", "behind pdsh", "".join(f"worker-0: {line}\n" for line in repeated(MDS).splitlines())),
    ("megatron", "Megatron-DeepSpeed", repeated(MDS + ENGINE)),
    ("megatron", "exit interval", DUMP + repeated(CORE, (1, 2)) + "[exiting program at iteration 2] datetime: 2025-09-05 16:08:19\n"),
    ("megatron", "said to be done", repeated(CORE.replace("/       3", "/     900")) + DONE),
    ("megatron", "GPT-NeoX", repeated(NEOX)),
    ("megatron", "Megatron-Bridge", repeated(BRIDGE)),
    ("nemo", "NeMo 2", repeated(NEMO)),
    ("nemo", "NeMo 1", repeated(BAR) + "`Trainer.fit` stopped: `max_steps=3` reached.\n"),
    ("torchtitan", "torchtitan", repeated(TITAN) + "[titan] 2025-11-25 19:45:09,441 - root - INFO - Training completed\n"),
    ("huggingface", "dicts", RUNNING + repeated(HF) + "{'train_runtime': 3.0, 'epoch': 1.0}\n"),
    ("huggingface", "bars", RUNNING + repeated(HF_BAR + HF)),
    ("huggingface", "on DeepSpeed", RUNNING + repeated(ENGINE + HF_BAR + HF) + EXITS),
    ("deepspeed", "DeepSpeed", repeated(ENGINE) + EXITS),
    ("nanotron", "nanotron", repeated(NANOTRON)),
    ("nanotron", "nanotron of 2025", repeated(NANOTRON.replace("elapsed_time", "time").replace("05/10/2024", "05/10"))),
    ("composer", "batches", repeated("[batch={0}/3]:\n\t Train loss/train/total: 10.5\n\t Train time/batch: 1\n")),
    ("composer", "tokens", repeated("[token={0}/3]:\n\t Train loss/train/total: 10.5\n\t Train time/batch: {0}\n")),
    ("internevo", "InternEvo", "data=dict(total_steps=3)\n" + repeated(INTERN, (0, 1, 2))),
    ("automodel", "NeMo AutoModel", "2025 | INFO | root | Experiment_details:\n  max_steps: 3\n" + repeated(AUTO, (0, 1, 2))),
]  # fmt: skip


@pytest.mark.parametrize("noise", ["", NOISE], ids=["quiet", "noisy"])
@pytest.mark.parametrize(("name", "title", "log"), CLEAN, ids=[title for _, title, _ in CLEAN])
def test_a_clean_log_is_ok(tmp_path: Path, name: str, title: str, log: str, noise: str) -> None:
    run = read(tmp_path, noise + log + (LATE if noise else ""))
    imported = run.imported
    assert (imported.format, imported.outcome, imported.cause) == (name, "ok", None), title
    assert (run.unread, len(run.lines) >= 2) == (0, True)
    assert all(isinstance(line["loss"], float) for line in run.lines[-1:] if name != "deepspeed")
