"""Step lines of every version: the format strings are named in `launcher.foreign.logs.programs.megatron`."""

from pathlib import Path
from typing import Any

import pytest

from launcher.foreign.logs.lines import clean, number
from launcher.foreign.source import SourceRun
from tests.launcher.foreign.made import known_facts, known_fields, read

MCORE = (
    " [2025-09-05 16:08:14] iteration        1/    2000 | consumed samples:          128 | elapsed"
    " time per iteration (ms): 79489.9 | throughput per GPU (TFLOP/s/GPU): 18.0 | learning rate:"
    " 2.999998E-05 | global batch size:   128 | lm loss: 2.605958E+00 | z_loss: 1.091659E+01 |"
    " mtp_1 loss: 2.828435E+00 | loss scale: 1.0 | grad norm: 0.258 | number of skipped"
    " iterations:   0 | number of nan iterations:   0 |"
)
MCORE_SAID = {
    "step": 1, "loss": 2.605958, "grad_norm": 0.258, "lr": 2.999998e-05, "step_ms": 79489.9,
    "stated_tflops_per_gpu": 18.0,
}  # fmt: skip

LINES: list[tuple[str, dict[str, Any]]] = [
    (MCORE, MCORE_SAID),
    (f"[default7]:{MCORE}", MCORE_SAID),
    (f"15: {MCORE}", MCORE_SAID),
    (f"\x1b[32m{MCORE}\x1b[0m", MCORE_SAID),
    (f"pretraining/0 {MCORE}\r", MCORE_SAID),
    # Megatron-DeepSpeed
    (
        "iteration      199/  317892 | consumed samples:       152832 | consumed tokens:    625999872 |"
        " elapsed time per iteration (ms): 14287.5 | learning rate: 2.407E-04 | global batch size:   768 |"
        " lm loss: 5.905366E+00 | loss scale: 8192.0 | actual seqlen:  4096 | number of skipped iterations:"
        "   0 | number of nan iterations:   0 | samples per second: 53.753 | tokens per gpu per second"
        " (tgs): 1146.733 | TFLOPs: 69.85 |",
        {"step": 199, "tokens": 625999872, "loss": 5.905366, "lr": 2.407e-4, "step_ms": 14287.5,
         "stated_tflops_per_gpu": 69.85, "tokens_per_s_per_gpu": 1146.733},
    ),
    # bigscience's: seconds
    (
        " iteration       11/   30517 | elapsed time per iteration (s): 11.18 | learning rate: 1.000E-04 |"
        " global batch size:  1024 | lm loss: 2.152785E+00 | grad norm: 0.114 | number of skipped iterations:"
        "   0 | number of nan iterations:   0 | samples per second: 91.621 | TFLOPs: 40.83 |",
        {"step": 11, "loss": 2.152785, "grad_norm": 0.114, "lr": 1e-4, "step_ms": 11180.0,
         "stated_tflops_per_gpu": 40.83},
    ),
    # GPT-NeoX
    (
        " samples/sec: 51.234 | iteration       10/      50 | elapsed time per iteration (ms): 9876.5 |"
        " learning rate: 1.234E-04 | approx flops per GPU: 150.3TFLOPS | lm_loss: 7.123456E+00 | number of"
        " skipped iterations:   0 | number of nan iterations:   0 |",
        {"step": 10, "loss": 7.123456, "lr": 1.234e-4, "step_ms": 9876.5,
         "stated_tflops_per_gpu": 150.3},
    ),
    # Megatron-Bridge: the speed is on a line before
    (
        "Step Time : 9.09s GPU utilization: 663.5MODEL_TFLOP/s/GPU\n [2025-12-22 15:18:33] iteration"
        "       50/      50 | consumed samples:        25600 | elapsed time per iteration (ms): 9089.0 |"
        " learning rate: 3.000000E-05 | global batch size:   512 | lm loss: 8.114214E+00 |"
        " load_balancing_loss: 1.000000E+00 | loss scale: 1.0 | grad norm: 0.042 | number of skipped"
        " iterations:   0 | number of nan iterations:   0 |",
        {"step": 50, "loss": 8.114214, "grad_norm": 0.042, "lr": 3e-5, "step_ms": 9089.0,
         "stated_tflops_per_gpu": 663.5},
    ),
    # a mean besides each figure
    (
        "iteration 126/ 5000 | consumed samples: 16128 | elapsed time per iteration (ms): 13372.8/13364.7 |"
        " throughput per GPU (TFLOP/s/GPU): 567.6/568.0 | learning rate: 9.984820E-06 | lm loss:"
        " 6.548988E-03 | number of nan iterations: 0 |",
        {"step": 126, "loss": 6.548988e-3, "lr": 9.98482e-06, "step_ms": 13372.8,
         "stated_tflops_per_gpu": 567.6},
    ),
    # Until 2020, and in GLM since: no colon
    (
        " iteration      400/    3000 | elapsed time per iteration (ms): 12879.0 | learning rate 6.300E-06 | lm loss"
        " 6.758929E+00 | loss scale 64.0 |",
        {"step": 400, "loss": 6.758929, "lr": 6.3e-06, "step_ms": 12879.0},
    ),
    (
        " iteration      700/    3000 | elapsed time per iteration (ms): 12932.3 | learning rate 9.8E-06 | lm loss NAN |"
        " loss scale 4.0 |",
        {"step": 700, "loss": "nan", "lr": 9.8e-06, "step_ms": 12932.3},
    ),
    # skipped, and not a number
    (
        " iteration        1/    1000 | elapsed time per iteration (ms): 5.5 | learning rate: 0.000E+00 |"
        " loss scale: 4294967296.0 | number of skipped iterations:   1 | number of nan iterations:   0 |",
        {"step": 1, "lr": 0.0, "step_ms": 5.5, "action": "skip"},
    ),
    (
        " iteration        1/    1000 | elapsed time per iteration (ms): 5.5 | lm loss: nan | grad norm: inf |"
        " number of skipped iterations:   0 | number of nan iterations:   1 |",
        {"step": 1, "loss": "nan", "grad_norm": "inf", "step_ms": 5.5},
    ),
    # over several lines, as the documentation of Megatron-Bridge shows it
    (
        "iteration:     100/100000 | consumed samples:        51200 | elapsed time per iteration (ms): 1247.3\n"
        "loss: 3.245 | mtp_1 loss: 3.512 | learning rate: 1.500E-04 | grad norm: 0.847",
        {"step": 100, "loss": 3.245, "grad_norm": 0.847, "lr": 1.5e-4, "step_ms": 1247.3},
    ),
    # torn by another rank, in the middle of a name
    (
        " iteration      153/   5000 | elapsed time per[Rank 3] (after 153 iterations) memory (MB) | allocated:"
        " 1.0 | max allocated: 2.0 | reserved: 3.0 | max reserved: 1024.0\ntime (ms) | forward: 28125.05\n"
        " iteration (ms): 1.18 | learning rate: 6.000E-07 | lm loss: 3.5 | number of nan iterations: 0 |",
        {"step": 153, "loss": 3.5, "lr": 6e-07, "step_ms": 1.18},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), LINES, ids=range(len(LINES)))
def test_step_lines(tmp_path: Path, text: str, expected: dict[str, Any]) -> None:
    run = read(tmp_path, f"before\n{text}\nafter\n")
    assert [known_fields(line) for line in run.lines] == [expected]
    assert (run.unread, run.imported.format) == (0, "megatron")


def steps(run: SourceRun) -> list[int]:
    return [line["step"] for line in run.lines]


def line(step: int, total: int = 100, loss: float = 3.0) -> str:
    return (
        f" iteration {step:8d}/{total:8d} | elapsed time per iteration (ms): {100 + step}.0 |"
        f" lm loss: {loss:E} | number of nan iterations:   0 |"
    )


def test_two_steps_on_a_line_are_two(tmp_path: Path) -> None:
    assert steps(read(tmp_path, f"{line(1)}{line(2)}\n{line(3)}\n")) == [1, 2, 3]


def test_a_step_that_is_cut_off_is_one(tmp_path: Path) -> None:
    run = read(tmp_path, f"{line(1)}\n iteration        2/     10")
    assert (steps(run), run.total, run.unread) == ([1, 2], 100, 0)


@pytest.mark.parametrize(
    "text",
    [
        " validation loss at iteration 200 | lm loss value: 7.487306E+00 | lm loss PPL: 1.7E+03 | ",
        " validation results at iteration 200 | lm_loss value: 6.9E+00 | lm_loss_ppl value: 990 |",
        "  successfully saved checkpoint at iteration     200 to /checkpoints",
        "time (ms) | forward-compute: 175.99 | optimizer: 115.22",
        "[Rank 0] (after 20 iterations) memory (MB) | allocated: 1.0 | max reserved: 2.0",
    ],
)
def test_what_is_no_step(tmp_path: Path, text: str) -> None:
    run = read(tmp_path, f"{line(199)}\n{text}\n")
    assert (steps(run), run.unread) == ([199], 0)


def test_what_cannot_be_read_is_counted_and_shown(tmp_path: Path) -> None:
    run = read(tmp_path, f"{line(1)}\n iteration  2/ 1o0 | lm loss: 3.0 |\n iteration 3/ x\n")
    assert (run.unread, run.first_unread) == (2, "iteration  2/ 1o0 | lm loss: 3.0 |")


ARGUMENTS = "------------------------ arguments ------------------------\n{}\n-------------------- end of arguments ---------------------\n"


def test_a_log_of_several_starts(tmp_path: Path) -> None:
    first = ARGUMENTS.format("  tensor_model_parallel_size ...... 2\n  world_size ...... 8")
    second = ARGUMENTS.format("  tensor_model_parallel_size ...... 4\n  world_size ...... 8")
    text = f"{first}{line(1)}\n{line(2, loss=9.0)}\n{line(3)}\n{second}{line(2, loss=2.0)}\n"
    run = read(tmp_path, text)
    assert [(step_line["step"], step_line["loss"]) for step_line in run.lines] == [
        (1, 3.0),
        (2, 2.0),
        (3, 3.0),
    ]
    assert (run.imported.known.tp, run.imported.known.dp) == (4, 2)
    assert run.imported.remark == (
        "2 starts in one log; 1 step lines repeat an earlier step, of which the last counts"
    )
    assert run.imported.cause == "the log ends at iteration 2 of 100 without saying why"


NEW = """  add_bias_linear ................................. False
  bf16 ............................................ True
  context_parallel_size ........................... 2
  expert_model_parallel_size ...................... 1
  ffn_hidden_size ................................. 11008
  fp8 ............................................. None
  global_batch_size ............................... 512
  group_query_attention ........................... False
  hidden_size ..................................... 4096
  micro_batch_size ................................ 2
  multi_latent_attention .......................... False
  normalization ................................... RMSNorm
  num_attention_heads ............................. 32
  num_layers ...................................... 32
  num_layers_per_virtual_pipeline_stage ........... 4
  num_query_groups ................................ 1
  padded_vocab_size ............................... 32000
  pipeline_model_parallel_size .................... 2
  position_embedding_type ......................... rope
  recompute_granularity ........................... selective
  seq_length ...................................... 4096
  sequence_parallel ............................... True
  swiglu .......................................... True
  tensor_model_parallel_size ...................... 2
  train_iters ..................................... 10
  untie_embeddings_and_output_weights ............. True
  use_distributed_optimizer ....................... True
  world_size ...................................... 16"""


def test_arguments_of_megatron_core(tmp_path: Path) -> None:
    step_lines = "".join(f"{line(step, 4)[:-1]} global batch size: 512 |\n" for step in range(1, 5))
    run = read(tmp_path, ARGUMENTS.format(NEW) + step_lines, hardware="h100")
    facts, figures = run.imported.known, run.imported.figures
    assert (facts.dp, facts.tp, facts.pp, facts.vpp, facts.cp, facts.sp) == (2, 2, 2, 4, 2, True)
    assert (facts.zero, facts.recompute, facts.precision) == (1, "selective", "bf16")
    assert facts.params_b == 6.738415616  # Llama 7B has as many
    # 512 x 4096 tokens in 103.5 ms, 6 x 6.607e9 + 3 x 32 x 2 x 4096 x 4096 FLOPs each, 16 cards.
    per_token = 6 * (6738415616 - 32000 * 4096 - 65 * 4096) + 6 * 32 * 4096 * 4096
    expected = 512 * 4096 / 0.1035 * per_token / 16 / 1e12
    assert figures.tflops_per_gpu == pytest.approx(expected)
    assert figures.mfu_pct is None  # more than the card can
    assert run.imported.remark == f"MFU {100 * expected / 989.4:.0f} % is impossible and left out"
    assert run.imported.outcome == "ok"


@pytest.mark.parametrize(
    "argument", ["multi_latent_attention ... True", "moe_shared_expert_intermediate_size ... 2048"]
)
def test_a_model_of_another_kind_has_no_flops(tmp_path: Path, argument: str) -> None:
    text = NEW.replace("  multi_latent_attention .......................... False\n", "")
    run = read(tmp_path, ARGUMENTS.format(f"{text}\n  {argument}") + f"{line(1)}\n{line(2)}\n")
    assert run.lines[0]["tokens_per_s"] and run.lines[0]["tflops_per_gpu"] is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1.2E-04", 1.2e-4), ("5,756", 5756.0), ("150.3TFLOPS", 150.3), (" 7 |", 7.0), ("None", None),
     ("info", None), ("inf", float("inf")), ("", None), ("40,", 40.0), (".5", 0.5)],
)  # fmt: skip
def test_numbers(text: str, expected: float | None) -> None:
    assert number(text) == expected


@pytest.mark.parametrize(
    "text",
    ["x: 1", "[default0]:x: 1", "[rank12]: x: 1", "3: x: 1", "(main pid=12) x: 1", "\x1b[1mx: 1"],
)
def test_what_launchers_put_before_a_line(text: str) -> None:
    assert clean(text) == "x: 1"


@pytest.mark.parametrize(
    ("logged", "steps"),
    [
        ([10, 20, 30], 30),
        ([1, 10, 20], 20),
        ([5001, 5002], 2),
        ([5010, 5020], 20),
        ([7], 1),
        ([3, 4], 2),
    ],
)
def test_steps_are_those_that_the_log_is_of(tmp_path: Path, logged: list[int], steps: int) -> None:
    run = read(tmp_path, "".join(f"{line(step)}\n" for step in logged))
    assert run.imported.figures.steps == steps


@pytest.mark.parametrize(
    "text",
    [
        "  num_layers ...................................... 24",
        "[default0]:  num_layers ...................................... 24",
        "worker-0:   num_layers ...................................... 24",
        "[2024-01-01 10:00:00]   num_layers ................ 24\r",
        "2024-01-01T10:00:00Z stdout F   num_layers ........ 24",
        "  num_layers  24",
    ],
)
def test_arguments_behind_anything(tmp_path: Path, text: str) -> None:
    arguments = [row for row in NEW.split("\n") if "num_layers " not in row]
    run = read(tmp_path, ARGUMENTS.format("\n".join([*arguments, text])))
    assert run.imported.known.params_b == pytest.approx(5.12, abs=0.01)


@pytest.mark.parametrize(
    ("text", "backend"),
    [
        ("", "megatron-lm"),
        ("[2021-09-03 10:00:00,1] [INFO] [logging.py:68:log_dist] [Rank 0] step=1, skipped=0, lr=[1e-05]\n",
         "megatron-deepspeed"),
        (ARGUMENTS.format("  deepspeed ......... False"), "megatron-lm"),
        (ARGUMENTS.format("  deepspeed ......... True"), "megatron-deepspeed"),
    ],
)  # fmt: skip
def test_what_trained_it(tmp_path: Path, text: str, backend: str) -> None:
    assert read(tmp_path, f"{text}{line(1)}\n").imported.known.backend == backend


TODAY = (
    " [2026-08-01 10:00:{0:02d}.123456] iteration {0:8d}/{1:8d} | consumed samples: {0}00 | elapsed time per"
    " iteration (ms): {2} | throughput per GPU (TFLOP/s/GPU): 400.1 | learning rate: 1.0E-06 | global batch"
    " size:    64 | lm loss: 3.0E+00 | loss scale: 1.0 | grad norm: 1.5 | number of skipped iterations:   0 |"
    " number of nan iterations:   0 |\n"
)
FRESH = "[before the start of training step] datetime: 2026-08-01 10:00:00\n"


@pytest.mark.parametrize(
    ("text", "times"),
    [
        # Every step is logged: the second line is the mean of two steps.
        (TODAY.format(1, 3, 20000.0) + TODAY.format(2, 3, 12000.0) + TODAY.format(3, 3, 4000.0),
         [20000.0, 4000.0, 4000.0]),
        # Every tenth step: the second line is the mean of ten.
        (TODAY.format(1, 30, 20000.0) + TODAY.format(10, 30, 5600.0) + TODAY.format(20, 30, 4000.0),
         [20000.0, 4000.0, 4000.0]),
        # It goes on from a checkpoint.
        (FRESH + TODAY.format(41, 50, 20000.0) + TODAY.format(42, 50, 12000.0), [20000.0, 4000.0]),
        # The log was cut out of the middle of a run.
        (TODAY.format(41, 50, 4100.0) + TODAY.format(42, 50, 4000.0), [4100.0, 4000.0]),
        # An earlier version, without fractions of seconds.
        ((TODAY.format(1, 3, 20000.0) + TODAY.format(2, 3, 12000.0)).replace(".123456", ""), [20000.0, 12000.0]),
    ],
)  # fmt: skip
def test_the_first_step_is_no_part_of_the_second_line(
    tmp_path: Path, text: str, times: list[float]
) -> None:
    run = read(tmp_path, text)
    assert [line["step_ms"] for line in run.lines] == pytest.approx(times)
    assert run.unread == 0


RANK_PARAMS = " > number of parameters on {} model parallel rank {}: {}\n"


@pytest.mark.parametrize(
    ("ranks", "names"),
    [
        (["(0, 0)", "(1, 0)"], "(tensor, pipeline)"),
        (["(0, 0, 0)", "(1, 0, 0)"], "(tensor, gtp_remat, pipeline)"),
        (["(0, 0, 0)", "(1, 0, 0)"], "(tensor, gtp_weight_remat, pipeline)"),
    ],
)
def test_parameters_of_ranks(tmp_path: Path, ranks: list[str], names: str) -> None:
    dump = ARGUMENTS.format("  tensor_model_parallel_size ...... 2\n  world_size ...... 2")
    counts = "".join(RANK_PARAMS.format(names, rank, 1_000_000) for rank in ranks)
    assert read(tmp_path, f"{dump}{counts}{line(1)}\n").imported.known.params_b == 0.002


@pytest.mark.parametrize(
    ("before", "after", "vocab"),
    [
        ("  padded_vocab_size ..... 50432", "", 50432),
        ("  padded_vocab_size ..... None", " > padded vocab (size: 50257) with 175 dummy tokens (new size: 50432)", 50432),
        ("  padded_vocab_size ..... None", "", 50432),
        ("  padded_vocab_size ..... 50257", "", 50257),
    ],
)  # fmt: skip
def test_a_vocabulary_that_is_padded_after_the_dump(
    tmp_path: Path, before: str, after: str, vocab: int
) -> None:
    sizes = (
        "  tensor_model_parallel_size ... 2\n  num_layers ... 2\n  hidden_size ... 64\n  vocab_size ... 50257\n"
        "  make_vocab_size_divisible_by ... 128\n  num_attention_heads ... 4\n  seq_length ... 128\n"
        "  position_embedding_type ... rope\n  world_size ... 2\n"
    )
    run = read(tmp_path, f"{ARGUMENTS.format(sizes + before)}{after}\n{line(1)}\n")
    norms_and_biases = 2 * 5 * 64 + 2 * (3 * 64 + 4 * 64 + 2 * 64)
    layers = 2 * (4 * 64 * 64 + 2 * 64 * 256) + norms_and_biases
    assert run.imported.known.params_b == pytest.approx((vocab * 64 + layers) / 1e9, abs=1e-9)


BRIDGE = line(1).replace("101.0", "5533.0"), line(2).replace("102.0", "5433.0")
FIRST, SECOND = (
    "Step Time : 5.53s GPU utilization: 560.9MODEL_TFLOP/s/GPU",
    "Step Time : 5.43s GPU utilization: 570.9MODEL_TFLOP/s/GPU",
)


@pytest.mark.parametrize(
    "rows",
    [
        (FIRST, BRIDGE[0], SECOND, BRIDGE[1]),
        (BRIDGE[0], FIRST, BRIDGE[1], SECOND),
        (f"[default0]:{FIRST}", f"[default7]:{BRIDGE[0]}", f"[default0]:{SECOND}", f"[default7]:{BRIDGE[1]}"),
        (FIRST.replace("MODEL_", ""), BRIDGE[0], SECOND.replace("MODEL_", ""), BRIDGE[1]),
        (FIRST, "time (ms) | forward: 3.0", BRIDGE[0], BRIDGE[1], SECOND),
    ],
)  # fmt: skip
def test_megatron_bridge_on_two_ranks(tmp_path: Path, rows: tuple[str, ...]) -> None:
    run = read(tmp_path, "".join(f"{row}\n" for row in rows))
    assert [line["stated_tflops_per_gpu"] for line in run.lines] == [560.9, 570.9]
    assert (run.imported.known.backend, run.unread) == ("megatron-bridge", 0)


@pytest.mark.parametrize(
    "name",
    ["tokens/sec/gpu", "tokens per gpu per second (tgs)", "tokens/s/gpu", "tokens per second per GPU",
     "tokens-per-second-per-gpu", "tokens_per_sec_per_gpu", "Tokens/sec/device", "TGS",
     "throughput (token/sec/GPU)"],
)  # fmt: skip
def test_the_speed_of_a_card_under_the_names_of_forks(tmp_path: Path, name: str) -> None:
    run = read(tmp_path, f"{line(1)[:-2]}| {name}: 11844.5 |\n")
    assert run.lines[0]["tokens_per_s_per_gpu"] == 11844.5


@pytest.mark.parametrize(
    ("rows", "steps_read", "unread"),
    [
        ([line(1), " iteration 2/ 10 | train loss: 3 | time: 3 | foo: 3 | bar: 2 |"], [1], 1),
        ([line(1), " iteration 2/ 10 | consumed samples: 3 | learning rate: 1.0E-05 |", line(3)], [1, 3], 1),
        ([line(1), " iteration 2/ 10 | elapsed", line(3)], [1, 3], 1),
        ([line(1), " iteration 2/ 10 | elapsed time per iteration (ms): x | lm loss: y | a: 1 |"], [1], 1),
        ([line(1), " iteration 2/ 10 | elapsed time per iteration (ms): 5.0 |"], [1, 2], 0),
        ([line(1), " iteration        2/     10"], [1, 2], 0),
    ],
)  # fmt: skip
def test_a_step_line_that_says_nothing_is_unread(
    tmp_path: Path, rows: list[str], steps_read: list[int], unread: int
) -> None:
    run = read(tmp_path, "".join(f"{row}\n" for row in rows))
    assert (steps(run), run.unread) == (steps_read, unread)


@pytest.mark.parametrize(
    ("printed", "facts"),
    [
        (
            "using world size: 16, data-parallel size: 2, context-parallel size: 1, hierarchical"
            " context-parallel sizes: None, tensor-model-parallel size: 4, pipeline-model-parallel size: 2\n",
            {"gpus": 16, "dp": 2, "tp": 4, "pp": 2, "cp": 1},
        ),
        (
            "using world size: 8, data-parallel-size: 2, tensor-model-parallel size: 2,"
            " pipeline-model-parallel size: 2 \n",
            {"gpus": 8, "dp": 2, "tp": 2, "pp": 2},
        ),
    ],
)
def test_a_run_that_fails_before_it_prints_its_arguments(
    tmp_path: Path, printed: str, facts: dict[str, int]
) -> None:
    run = read(tmp_path, f"{printed}KeyError: 'query_model'\n")
    assert (run.imported.format, run.imported.cause) == ("megatron", "KeyError: 'query_model'")
    assert known_facts(run) == {"backend": "megatron-lm", **facts}


def test_parameters_in_the_report_on_memory(tmp_path: Path) -> None:
    report = "Total number of parameters in billions: 1.71\n"
    assert read(tmp_path, report + line(1)).imported.known.params_b == pytest.approx(1.71)


def test_ranks_that_a_prefix_counts(tmp_path: Path) -> None:
    prefix = "[20251121 12:10:29][rank-31/32][INFO ] [--------trainer.py:2488] : "
    assert read(tmp_path, prefix + line(1)).imported.known.gpus == 32


def test_memory_as_torch_called_it_before_1_4(tmp_path: Path) -> None:
    memory = (
        "after 100 iterations memory (MB) | allocated: 5133.3 | max allocated: 7899.1 | cached: 9216.0"
        " | max cached: 9216.0\n"
    )
    assert read(tmp_path, memory + line(1)).imported.figures.mem_max_gib == 9.0
