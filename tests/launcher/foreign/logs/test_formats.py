"""Lines as the format strings print them that each module of `launcher.foreign.logs` names.

Modules: launcher.foreign, launcher.foreign.logs.programs.deepspeed, launcher.foreign.logs.programs.huggingface,
launcher.foreign.logs.programs.nemo, launcher.foreign.logs.programs.torchtitan, launcher.foreign.logs.read,
launcher.foreign.logs.reader.
"""

from pathlib import Path

import pytest

from launcher import foreign
from launcher.errors import ReadError
from launcher.results.imported import RunFacts
from tests.launcher.foreign.made import known_fields, read, source

TITAN = """\
[rank0]:[titan] 2025-11-25 19:44:55,287 - root - INFO - Building 1-D device mesh with ['dp_shard'], [8]
[rank0]:[titan] 2025-11-25 19:44:58,537 - root - INFO - Building llama3 debugmodel with TransformerModelArgs(_enforced='', dim=256, n_layers=6, n_heads=16, n_kv_heads=None, vocab_size=2048, multiple_of=256, ffn_dim_multiplier=None, norm_eps=1e-05, rope_theta=500000, max_seq_len=2048)
[rank0]:[titan] 2025-11-25 19:44:58,547 - root - INFO - CUDA capacity: NVIDIA H200 with 139.81GiB memory
[rank0]:[titan] 2025-11-25 19:44:58,595 - root - INFO - \x1b[34mModel llama3 debugmodel \x1b[31msize: 6,163,712 total parameters\x1b[39m
[rank0]:[titan] 2025-11-25 19:44:58,595 - root - INFO - Applied selective activation checkpointing to the model
[rank0]:[titan] 2025-11-25 19:44:58,838 - root - INFO - Trainer is initialized with local batch size 8, global batch size 64, gradient accumulation steps 1, sequence length 2048, total steps 3 (warmup 2)
[rank0]:[titan] 2025-11-25 19:45:01,441 - root - INFO - \x1b[31mstep:  1  \x1b[32mloss:  8.0277  \x1b[38;2;180;60;0mgrad_norm:  1.4604  \x1b[38;2;54;234;195mmemory:  1.21GiB(0.86%)  \x1b[34mtps: 5,756  \x1b[36mtflops: 0.41  \x1b[35mmfu: 0.04%\x1b[39m
[rank0]:[titan] 2025-11-25 19:45:01,496 - root - INFO - step:  2  loss:  7.7082  grad_norm:  1.5585  memory:  1.34GiB(0.96%)  tps: 301,092  tflops: 21.55  mfu: 2.18%
[rank0]:[titan] 2025-11-25 19:45:01,500 - root - INFO - validate step:  2  loss:  7.7000  memory:  1.34GiB(0.96%)  tps: 901,092
[rank0]:[titan] 2025-11-25 19:45:01,542 - root - INFO - step:  3  loss:  6.9532  grad_norm:  1.9775  memory:  1.34GiB(0.96%)  tps: 359,546  tflops: 25.74  mfu: 2.60%
[rank0]:[titan] 2025-11-25 19:45:03,885 - root - INFO - Training completed
"""


def test_torchtitan(tmp_path: Path) -> None:
    run = read(tmp_path, TITAN)
    imported, figures = run.imported, run.imported.figures
    assert imported.known == RunFacts(
        backend="torchtitan",
        model="llama3 debugmodel",
        params_b=0.006163712,
        gpus=8,
        dp=8,
        tp=1,
        pp=1,
        cp=1,
        ep=1,
        zero=3,
        global_batch=64,
        micro_batch=8,
        recompute="selective",
        seq_len=2048,
    )
    per_token = 6 * (6 * (4 * 256 * 256 + 3 * 256 * 768) + 2048 * 256) + 6 * 6 * 2048 * 256
    assert known_fields(run.lines[2]) == {
        "step": 3,
        "tokens": 3 * 64 * 2048,
        "loss": 6.9532,
        "grad_norm": 1.9775,
        "step_ms": pytest.approx(64 * 2048 / 8 / 359.546),
        "mem_max_gib": 1.34,
        "tokens_per_s": pytest.approx(8 * 359546),
        "stated_tflops_per_gpu": 25.74,
        "tflops_per_gpu": pytest.approx(359546 * per_token / 1e12),
    }
    assert [line["step"] for line in run.lines] == [1, 2, 3]
    assert (imported.outcome, figures.steps, figures.mem_max_gib) == ("ok", 3, 1.34)
    assert imported.stated_tflops_per_gpu == 25.74  # without the first two steps
    assert imported.seconds == 8


def test_torchtitan_of_several_degrees(tmp_path: Path) -> None:
    text = (
        "[titan] Building device mesh with parallelism: pp=2, dp_replicate=1, dp_shard=4, cp=1,"
        " tp=2, ep=4, etp=1\n[titan] step: 10  loss: nan  memory: 1.0GiB(1%)  wps: 10  mfu: 1%\n"
    )
    run = read(tmp_path, text)
    facts = run.imported.known
    assert (facts.gpus, facts.dp, facts.pp, facts.tp, facts.ep) == (16, 4, 2, 2, 4)
    assert facts.zero == 2
    assert (run.imported.outcome, run.imported.cause) == (
        "diverged",
        "the loss is nan from step 10 on",
    )


NEMO = """\
[NeMo W 2025-06-18 21:57:03 rerun_state_machine:239] RerunStateMachine initialized in mode RerunMode.DISABLED
All distributed processes registered. Starting with 8 processes
Training epoch 0, iteration 0/3 | lr: 0 | global_batch_size: 128 | global_step: 0 | reduced_train_loss: 11.96 | train_step_timing in s: 23.52
Training epoch 0, iteration 1/3 | lr: 2e-05 | global_batch_size: 128 | global_step: 1 | max_memory_reserved: 127785762816 | reduced_train_loss: 11.9 | train_step_timing in s: 6.08 | TFLOPS_per_GPU: 1.249e+03 | consumed_samples: 256
0: Training epoch 0, iteration 2/3 | lr: 4e-05 | global_batch_size: 128 | global_step: 2 | reduced_train_loss: 11.5 | train_step_timing in s: 6.05 | TFLOPS_per_GPU: 1.252e+03 | consumed_samples: 384 | val_loss: 2.861
[2025-11-20T14:55:23+08:00] pretraining/0 Training epoch 0, iteration 3/3 | lr: 6e-05 | global_batch_size: 128 | global_step: 3 | reduced_train_loss: 11.25 | train_step_timing in s: 6.15 | tokens_per_sec_per_gpu: 1.073e+04 | consumed_samples: 512
"""


def test_nemo_2(tmp_path: Path) -> None:
    run = read(tmp_path, NEMO)
    assert [line["step"] for line in run.lines] == [0, 1, 2, 3]
    assert known_fields(run.lines[1]) == {
        "step": 1,
        "loss": 11.9,
        "lr": 2e-05,
        "step_ms": 6080.0,
        "stated_tflops_per_gpu": 1249.0,
        "mem_max_gib": 127785762816 / 2**30,
    }
    imported = run.imported
    assert imported.known == RunFacts(backend="nemo", gpus=8, dp=8, global_batch=128)
    # It counts from 0: four steps are done.
    assert (imported.outcome, imported.figures.steps, imported.figures.step_ms_p50) == (
        "ok",
        4,
        6100.0,
    )


BARS = (
    "    tensor_model_parallel_size: 2\n    seq_length: 2048\n    global_batch_size: 256\n"
    "  num_nodes: 1\n"
    "Epoch 0: :   0%|          | 0/40 [00:00<?]\r"
    "Epoch 0: :   3%|▎         | 1/40 [00:07<04:40, loss=10.9, v_num=, reduced_train_loss=10.90,"
    " global_step=0.000, consumed_samples=256.0, train_step_timing in s=7.010]\r"
    "Epoch 0: :   5%|▌         | 2/40 [00:13<04:20, loss=10.8, v_num=, reduced_train_loss=10.70,"
    " global_step=1.000, consumed_samples=512.0, train_step_timing in s=6.500]\r"
    "Epoch 0: :   5%|▌         | 2/40 [00:13<04:20, loss=10.8, v_num=, reduced_train_loss=10.70,"
    " global_step=1.000, consumed_samples=512.0, train_step_timing in s=6.500]\n"
    "Validation DataLoader 0: 100%|██████████| 32/32 [00:01<00:00, 20.00it/s]\n"
)


def test_nemo_1_and_its_bars(tmp_path: Path) -> None:
    run = read(tmp_path, BARS)
    assert [known_fields(line) for line in run.lines] == [
        {
            "step": 1,
            "tokens": 256 * 2048,
            "loss": 10.9,
            "step_ms": 7010.0,
            "tokens_per_s": pytest.approx(256 * 2048 / 7.01),
        },
        {
            "step": 2,
            "tokens": 512 * 2048,
            "loss": 10.7,
            "step_ms": 6500.0,
            "tokens_per_s": pytest.approx(256 * 2048 / 6.5),
        },
    ]
    assert (run.imported.known.tp, run.imported.known.global_batch) == (2, 256)
    assert run.imported.cause == "the log ends at iteration 2 of 40 without saying why"


def test_nemo_ends_of_itself(tmp_path: Path) -> None:
    over = BARS + "`Trainer.fit` stopped: `max_steps=2` reached.\n"
    assert read(tmp_path, over).imported.outcome == "ok"


DEEPSPEED = """\
[2023-11-07 01:54:00,000] [INFO] [logging.py:96:log_dist] [Rank 0] DeepSpeed info: version=0.12.3, git-hash=unknown, git-branch=unknown
[2023-11-07 01:54:00,001] [INFO] [config.py:972:print]   train_batch_size ............. 64
[2023-11-07 01:54:00,001] [INFO] [config.py:972:print]   train_micro_batch_size_per_gpu  4
[2023-11-07 01:54:00,001] [INFO] [config.py:972:print]   world_size ................... 16
[2023-11-07 01:54:00,001] [INFO] [config.py:972:print]   zero_optimization_stage ...... 2
[2023-11-07 01:54:00,001] [INFO] [config.py:972:print]   bfloat16_enabled ............. True
[2023-11-07 01:54:00,002] [INFO] [logging.py:96:log_dist] [Rank 0] step=0, skipped=0, lr=[5e-05], mom=[(0.9, 0.95)]
[2023-11-07 01:55:23,711] [INFO] [logging.py:96:log_dist] [Rank 0] step=10, skipped=4, lr=[4.998e-05, 4.998e-05], mom=[(0.9, 0.95), (0.9, 0.95)]
steps: 10 loss: 7.1250 iter time (s): 0.936 samples/sec: 68.376
[2023-11-07 01:55:23,714] [INFO] [timer.py:260:stop] epoch=0/micro_step=40/global_step=10, RunningAvgSamplesPerSec=25.02, CurrSamplesPerSec=68.0, MemAllocated=4.32GB, MaxMemAllocated=38.49GB
[2023-11-07 01:57:23,711] [INFO] [logging.py:96:log_dist] [Rank 0] step=20, skipped=4, lr=[4e-05, 4e-05], mom=[(0.9, 0.95), (0.9, 0.95)]
[2023-11-07 01:57:23,714] [INFO] [timer.py:198:stop] 0/20, RunningAvgSamplesPerSec=25.7, CurrSamplesPerSec=32.0, MemAllocated=4.32GB, MaxMemAllocated=38.49GB
"""


def test_deepspeed(tmp_path: Path) -> None:
    run = read(tmp_path, DEEPSPEED)
    assert [known_fields(line) for line in run.lines] == [
        {"step": 10, "loss": 7.125, "lr": 4.998e-05, "step_ms": 936.0},
        {"step": 20, "lr": 4e-05, "step_ms": 2000.0},
    ]
    imported = run.imported
    assert imported.known == RunFacts(
        backend="deepspeed",
        gpus=16,
        dp=16,
        zero=2,
        global_batch=64,
        micro_batch=4,
        precision="bf16",
    )
    assert (imported.figures.skipped, imported.seconds) == (4, 203)
    assert imported.remark == "the log does not say how many steps it was to do"


def test_hugging_face_without_bars(tmp_path: Path) -> None:
    text = (
        "INFO:__main__:Training/evaluation parameters TrainingArguments(logging_steps=25, x=1)\n"
        "***** Running training *****\n  Total optimization steps = 75\n"
        "{'loss': 7.1, 'grad_norm': 1.25, 'learning_rate': 5e-05, 'epoch': 0.1}\n"
        "{'loss': 6.5, 'grad_norm': 'nan', 'learning_rate': 4e-05, 'epoch': 0.2}\n"
        "{'eval_loss': 6.4, 'eval_runtime': 3.0, 'epoch': 0.2}\n"
    )
    run = read(tmp_path, text)
    assert [known_fields(line) for line in run.lines] == [
        {"step": 25, "loss": 7.1, "grad_norm": 1.25, "lr": 5e-05},
        {"step": 50, "loss": 6.5, "grad_norm": "nan", "lr": 4e-05},
    ]
    assert run.imported.cause == "the log ends at iteration 50 of 75 without saying why"


def test_a_trainer_that_says_its_step_in_the_dict(tmp_path: Path) -> None:
    dicts = "".join(
        f"{{'loss': 1.5, 'learning_rate': 1e-06, 'memory(GiB)': 47.05, '{name}': '{step}/10'}}\n"
        for name, step in (("global_step/max_steps", 5), ("iteration", 10))
    )
    run = read(tmp_path, dicts)
    assert [line["step"] for line in run.lines] == [5, 10]
    assert (run.imported.outcome, run.total) == ("ok", 10)


def test_hugging_face_with_both(tmp_path: Path) -> None:
    text = (
        "***** Running training *****\n"
        "  Total optimization steps = 3\n"
        "Map: 100%|██████████| 10/10 [00:01<00:00, 9.00it/s]\n"
        "\r  0%|          | 0/3 [00:00<?, ?it/s]\r 33%|███▎      | 1/3 [00:10<00:20, 10.00s/it]"
        "\r                                     \r{'loss': 7.1, 'learning_rate': 5e-05, 'epoch': 0.3}\n"
        "\r 33%|███▎      | 1/3 [00:10<00:20, 10.00s/it]\r 67%|██████▋   | 2/3 [00:18<00:09,  9.00s/it]\n"
    )
    run = read(tmp_path, text)
    assert [known_fields(line) for line in run.lines] == [
        {"step": 1, "loss": 7.1, "lr": 5e-05, "step_ms": 10000.0},
        {"step": 2, "step_ms": 8000.0},
    ]


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("hello\n", "auto", "run.log: no log of a known kind: looked for 'iteration 10/ 1000 |"),
        (TITAN, "nemo", "run.log: no log of a known kind: looked for 'Training epoch 0, iteration"),
        ("a,b\n1,2\n", "sheet", "run.log: none of its columns is known: a, b"),
    ],
)
def test_what_is_no_such_log(tmp_path: Path, text: str, name: str, message: str) -> None:
    with pytest.raises(ReadError) as caught:
        read(tmp_path, text, name)
    assert message in str(caught.value) and "\n" not in str(caught.value)


BAR = "{}%|#   | {}/{} [{}<00:20, {}it/s]\n"


@pytest.mark.parametrize(
    ("lines", "steps"),
    [
        # Nothing is announced: the longest bar without a name is the one of training.
        (
            "100%|####| 2/2 [00:00<00:00, 400.00it/s]\n"
            + BAR.format(0, 0, 5, "00:00", "?")
            + BAR.format(20, 1, 5, "00:03", "0.33")
            + "{'loss': 7.5, 'learning_rate': 0.5}\n"
            + BAR.format(40, 2, 5, "00:05", "0.50")
            + "Running tokenizer on dataset: 100%|####| 900/900 [00:00<00:00, 400.00it/s]\n",
            [(1, 7.5, 3000.0), (2, None, 2000.0)],
        ),
        # It goes on from a checkpoint.
        (
            "***** Running training *****\n"
            + BAR.format(60, 3, 5, "00:00", "?")
            + BAR.format(80, 4, 5, "00:04", "0.25")
            + "{'loss': '7.5', 'grad_norm': '1.0', 'learning_rate': '0.5'}\n",
            [(4, 7.5, 4000.0)],
        ),
    ],
)
def test_bars(
    tmp_path: Path, lines: str, steps: list[tuple[int, float | None, float | None]]
) -> None:
    run = read(tmp_path, lines)
    assert [(line["step"], line["loss"], line["step_ms"]) for line in run.lines] == steps
    assert run.total == 5


def test_a_bar_alone_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(ReadError):
        read(tmp_path, BAR.format(20, 1, 5, "00:03", "0.33"))


def test_hugging_face_that_starts_once_more(tmp_path: Path) -> None:
    start, over = "***** Running training *****\n", "{'train_runtime': 3.0, 'epoch': 1.0}\n"
    assert read(tmp_path, start + over).imported.outcome == "ok"
    assert read(tmp_path, start + over + start).imported.outcome == "failed"


NEMO_STEP = "Training epoch {}, iteration {}/9 | global_step: {} | reduced_train_loss: 2.0\n"
FIT_STOPPED = "`Trainer.fit` stopped: `max_epochs=2` reached.\n"


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (NEMO_STEP.format(0, 9, 9), "ok"),
        ("  max_steps: 9\n" + NEMO_STEP.format(1, 9, 9), "ok"),
        ("  max_steps: -1\n" + NEMO_STEP.format(0, 9, 9), "failed"),
        (NEMO_STEP.format(0, 9, 9) + NEMO_STEP.format(1, 3, 13), "failed"),
        (NEMO_STEP.format(0, 9, 9) + NEMO_STEP.format(1, 9, 19) + FIT_STOPPED, "ok"),
    ],
)
def test_nemo_without_a_last_step(tmp_path: Path, text: str, outcome: str) -> None:
    assert read(tmp_path, text).imported.outcome == outcome


LAUNCHED = "[2024-01-01 00:00:00,000] [INFO] [launch.py:347:main] Process {} exits successfully.\n"


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        ("", "failed"),
        (LAUNCHED.format(7) + LAUNCHED.format(8), "ok"),
        (LAUNCHED.format(7) + "[launch.py:316:sigkill_handler] Killing subprocess 8\n", "failed"),
        ("[launch.py:316:sigkill_handler] Killing subprocess 8\n" + LAUNCHED.format(7), "failed"),
    ],
)
def test_deepspeed_and_its_launcher(tmp_path: Path, end: str, outcome: str) -> None:
    run = read(tmp_path, f"[Rank 0] step=10, skipped=0, lr=[0.1], mom=[0.9]\n{end}")
    assert run.imported.outcome == outcome


@pytest.mark.parametrize(
    "said",
    [
        "[2025-09-10 20:17:22,925] [INFO] [utils.py:781:see_memory_usage] DeepSpeedZeRoOffload initialize [begin]\n",
        "n1: [2023-12-21 16:35:29,011] [INFO] [loss_scaler.py:183:update_scale] [deepspeed] OVERFLOW! Rank 0\n",
        "[Epoch 0 / Train]:   0%| | 1/8614 [00:00<1:03:35,  2.26it/s, loss=265.25][deepscale] OVERFLOW! Rank 0\n",
    ],
)
def test_deepspeed_by_its_logger_alone(tmp_path: Path, said: str) -> None:
    run = read(
        tmp_path, f"{said}failed (exitcode: -9) local_rank: 0 (pid: 438) of binary: python\n"
    )
    assert (run.imported.format, run.imported.outcome) == ("deepspeed", "node")


def test_a_log_without_a_step(tmp_path: Path) -> None:
    run = read(tmp_path, "***** Running training *****\n{'train_runtime': 9.0}\n")
    assert (run.imported.outcome, run.imported.remark) == ("ok", "no step is logged")


def test_a_folder_of_logs(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="no event files, and no log of a known kind"):
        foreign.read(source(tmp_path))


@pytest.mark.parametrize(
    ("first", "odd"),
    [
        (NEMO_STEP.format(0, 1, 1), "Training epoch 0, iteration 2/9 | lr: 0 | reduced_train_loss: ? |\n"),
        ("{'loss': 7.1, 'learning_rate': 5e-05}\n", "{'loss': tensor(7.1), 'learning_rate': 5e-05}\n"),
        ("steps: 10 loss: 7.1 iter time (s): 0.9\n", "steps: 20 loss: ? iter time (s): ?\n"),
    ],
)  # fmt: skip
def test_a_step_line_without_its_figures_is_unread(tmp_path: Path, first: str, odd: str) -> None:
    run = read(tmp_path, first + odd)
    assert (len(run.lines), run.unread, run.first_unread) == (1, 1, odd.strip())


def test_an_empty_log(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"run\.log: is empty$"):
        read(tmp_path, "")
