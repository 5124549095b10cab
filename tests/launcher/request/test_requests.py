"""A wrong request is one line on stderr and exit code 2, and nothing is started.

Modules: launcher.cli.verbs.running.run, launcher.cli.verbs.running.status,
launcher.request.compose, launcher.request.request, launcher.campaign.preflight.
"""

from pathlib import Path

import pytest

from launcher.cli import main

GRID = "sweep=parallelism_grid"

REQUESTS: list[tuple[str, list[str], str]] = [
    # unknown names
    ("key", ["layout.ttp=2"], "layout.ttp: no such key; did you mean 'layout.tp'?"),
    ("group", ["modle=tiny"], "modle: no such key; did you mean 'model'?"),
    ("choice", ["model=tinny"], "model: no 'tinny'; did you mean 'tiny'?"),
    ("model key", ["model.layer=4"], "model.layer: no such key; did you mean 'model.layers'?"),
    ("cluster", ["cluster=h10"], "cluster: no 'h10'; did you mean 'h100'?"),
    ("sweep", ["sweep=paralelism_grid"],
     "sweep: no 'paralelism_grid'; did you mean 'parallelism_grid'?"),
    ("backend", ["backend=megatorn"], "backend: no 'megatorn'; did you mean 'megatron'?"),
    ("backend of an axis", ["sweep.axes.backend=[megatron,megatorn]"],
     "backend: no 'megatorn'; did you mean 'megatron'?"),
    ("scheduler", ["scheduler.name=pbs"], "scheduler.name: no 'pbs'; known: local, slurm"),
    ("known as", ["train.lr=1"], "train.lr: no such key; it is train.optimizer.lr"),
    ("verb later", ["layout.tp=1", "plan"], "'plan' is a verb, which comes first"),
    ("empty word", ["layout.tp=1", ""], "'' is not KEY=VALUE"),
    ("one for a list", ["retry=failed"], "retry: expected a list, got 'failed'; write [failed]"),
    ("rungs", ["plan", GRID, "sweep.strategy=halving"],
     "sweep.strategy: halving needs rungs: an axis train.steps of several values"),
    ("constants", ["plan", "constants=nowhere.json"],
     "constants: nowhere.json: No such file or directory"),
    ("explain", ["plan", "--explain", "2"], "--explain 2: the rows are 1 to 1"),
    ("two sheets", ["plan", "--runs", "a.csv", "--fit", "b.csv"], "--runs and --fit: one at a time"),
    ("keys and a sheet", ["plan", "--runs", "a.csv", "constants=c.json", "price_per_gpu_hour=3"],
     "price_per_gpu_hour=3: has no meaning beside --runs, whose sheet says it all"),
    ("keys and a fit", ["plan", "--fit", "a.csv", "constants=c.json"],
     "constants=c.json: has no meaning beside --fit, whose sheet says it all"),
    ("the sheet itself", ["plan", "--runs", "a.csv", "-o", "./a.csv"],
     "--output: ./a.csv is the sheet itself"),
    ("sheet", ["plan", "--runs", "nowhere.csv"], "nowhere.csv: No such file or directory"),
    ("replay", ["replay", "nowhere.csv"], "nowhere.csv: No such file or directory"),
    ("strategy", [GRID, "sweep.strategy=gird"], "sweep.strategy: no 'gird'; did you mean 'grid'?"),
    ("verb", ["tabel", "runs"], "'tabel' is neither a verb nor KEY=VALUE; did you mean 'table'?"),
    ("no value", ["layout.tp"], "'layout.tp' is neither a verb nor KEY=VALUE"),
    ("no value later", ["layout.tp=1", "layout.pp"], "'layout.pp' is not KEY=VALUE"),
    ("option", ["plan", "--frmat", "csv"], "unrecognized arguments: --frmat"),
    ("--config-dir", ["--config-dir", "nowhere"], "--config-dir: nowhere is not a folder"),
    # wrong type or range
    ("literal", ["layout.zero=4"], "layout.zero: 4 is not one of 0, 1, 2, 3"),
    ("near literal", ["layout.recompute=ful"],
     "layout.recompute: 'ful' is not one of none, selective, full; did you mean 'full'?"),
    ("text for a number", ["layout.tp=two"], "layout.tp: expected a whole number, got 'two'"),
    ("half", ["layout.tp=1.5"], "layout.tp: expected a whole number, got 1.5"),
    ("zero", ["layout.tp=0"], "layout.tp: 0 is below 1"),
    ("flag", ["layout.offload=maybe"], "layout.offload: expected true or false, got 'maybe'"),
    ("negative", ["train.optimizer.lr=-1"], "train.optimizer.lr: -1.0 is not above 0"),
    ("share", ["train.optimizer.beta1=1.5"], "train.optimizer.beta1: 1.5 is above 1"),
    ("null", ["train.steps=null"], "train.steps: expected a whole number, got None"),
    ("absurd", ["train.global_batch=100000000000000000000000"],
     "train.global_batch: 100000000000000000000000 is above 9.0072e+15"),
    ("infinite", ["time_limit=inf"], "time_limit: inf is not a finite number"),
    ("several", ["layout.tp=1,2"], "layout.tp: 1,2 is several values; add -m to run them all"),
    ("mapping for a group", ["sweep=7"],
     "config: Config group override must be a string or a list. Got int"),
    # impossible together
    ("nothing measured", ["train.steps=2"],
     "train.untimed_steps: 2 leaves none of train.steps 2 to measure"),
    ("schedule", ["train.optimizer.min_lr=1"],
     "train.optimizer.min_lr: 1 is above train.optimizer.lr 0.002"),
    ("ranks", ["layout.tp=3"], "tp 3 does not divide 2 gpus"),
    ("batch", ["layout.micro_batch=5"],
     "micro_batch 5 x dp 2 (10) does not divide global_batch 24"),
    ("heads", ["model.heads=3", "model.kv_heads=3"], "heads 3 does not divide hidden 128"),
    ("framework", ["layout.zero=3"],
     "zero 3 needs backend deepspeed: megatron-core's distributed optimizer is zero 1"),
    ("experts", ["layout.ep=2"], "ep 2 needs a model with experts, tiny is dense"),
    ("silently wrong", ["layout.pp=2", "layout.vpp=2", "layout.overlap_p2p=false"],
     "vpp 2 with pp 2 needs overlap_p2p true: batched sends and receives between the same two"
     " stages get mixed up, and the loss is silently wrong"),
    ("vocabulary", ["data.tokenizer_vocab=4096"],
     "data.tokenizer: bpe has 4096 tokens, model.vocab is 2048"),
    # data
    ("no file", ["data.blend={/nowhere/text.jsonl: 1}"],
     "data.blend: /nowhere/text.jsonl: No such file or directory"),
    ("empty file", ["data.blend={empty.txt: 1}"], "data.blend: {tmp}/empty.txt is empty"),
    ("blank file", ["data.blend={blank.txt: 1}"], "data.blend: {tmp}/blank.txt holds no text"),
    ("not JSON", ["data.blend={bad.jsonl: 1}"],
     "data.blend: {tmp}/bad.jsonl:2: not JSON: Expecting value: line 1 column 1 (char 0)"),
    ("no text", ["data.blend={no_text.jsonl: 1}"],
     'data.blend: {tmp}/no_text.jsonl:1: no text under "text"'),
    ("no pair", ["data.blend={doc.pdf: 1}"],
     "data.blend: {tmp}/doc.pdf is no .jsonl or .txt, and there is no {tmp}/doc.pdf.bin and .idx"),
    ("no index", ["data.blend={junk: 1}"], "data.blend: {tmp}/junk.idx is no index of megatron-core"),
    ("no tokenizer", ["data.tokenizer=junk.json"],
     "data.tokenizer: junk.json is not JSON: Expecting value: line 1 column 1 (char 0)"),
    ("odd tokenizer", ["data.tokenizer=odd.json"],
     "data.tokenizer: odd.json is no file of the tokenizers library: no model in it"),
    ("half a pair", ["data.blend={half.bin: 1}"],
     "data.blend: {tmp}/half.idx: No such file or directory"),
    ("corpus", ["data.blend={bundled/prse: 1}"],
     "data.blend: no 'bundled/prse'; did you mean 'bundled/prose'?"),
    ("weight", ["data.blend={bundled/prose: 0}"],
     "data.blend: the weight of bundled/prose is 0, not above 0"),
    ("no source", ["data.blend={}"], "data.blend: is empty; name at least one source"),
    ("data of an axis", ["sweep.axes.data.blend=[{empty.txt: 1}]"],
     "data.blend: {tmp}/empty.txt is empty"),
    ("weight of an axis", ["sweep.axes.data.blend=[{bundled/prose: 0}]"],
     "data.blend: the weight of bundled/prose is 0, not above 0"),
    ("tokenizer of an axis", ["sweep.axes.data.tokenizer=[bpe,nowhere.json]"],
     "data.tokenizer: nowhere.json: No such file or directory"),
    ("tokenizer", ["data.tokenizer=bep"], "data.tokenizer: no 'bep'; did you mean 'bpe'?"),
    # sweeps
    ("axis", ["sweep.axes.layout.ttp=[1]"],
     "sweep.axes.layout.ttp: no such key; did you mean 'sweep.axes.layout.tp'?"),
    ("axis below a value", ["sweep.axes.layout.tp.x=[1]"],
     "sweep.axes.layout.tp: has no keys of its own, got 'sweep.axes.layout.tp.x'"),
    ("axis without a list", ["sweep.axes.layout.tp=2"],
     "sweep.axes.layout.tp: expected a list of values, got 2"),
    ("empty axis", ["sweep.axes.layout.tp=[]"], "sweep.axes.layout.tp: the list of values is empty"),
    ("value of an axis", ["sweep.axes.layout.tp=[1,x]"],
     "sweep.axes.layout.tp[1]: expected a whole number, got 'x'"),
    ("list cut short", ["sweep.axes.layout.tp=[1"],
     "sweep.axes.layout.tp: expected a list of values, got '[1'"),
    ("model of an axis", ["sweep.axes.model=[tiny,llama_7]"],
     "sweep.axes.model: no 'llama_7'; did you mean 'llama_7b'?"),
    ("unequal zip", ["sweep.zip={layout: {tp: [1, 2], pp: [1]}}"],
     "sweep.zip[0]: lists that move together must be of one length: layout.tp has 2,"
     " layout.pp has 1"),
    ("listed twice", [GRID, "sweep.zip={layout: {tp: [1, 2]}}"],
     "sweep.zip[0]: layout.tp is an axis in axes already"),
    ("field of where", [GRID, "sweep.where=layout.ttp > 1"],
     "sweep.where: 'layout.ttp > 1': no field 'ttp'; did you mean 'tp'?"),
    ("where is no code", [GRID, "sweep.where=__import__('os').abort()"],
     "sweep.where: \"__import__('os').abort()\": Function '__import__' not defined, for expression"
     " '__import__('os').abort()'."),
    ("where cut short", [GRID, "sweep.where=layout.tp >"],
     "sweep.where: 'layout.tp >' is not an expression"),
    ("where out of range", [GRID, "sweep.where=layout.recompute[99] == 1"],
     "sweep.where: 'layout.recompute[99] == 1': string index out of range"),
    ("where of odd text", [GRID, "sweep.where='%q' % layout.tp == 1"],
     "sweep.where: \"'%q' % layout.tp == 1\": unsupported format character 'q' (0x71) at index 1"),
    ("where of nothing", [GRID, "sweep.where=layout.tp > 99"],
     "sweep.where: no point of the sweep meets 'layout.tp > 99'"),
    ("where of several and nothing", [GRID, "sweep.where=[layout.tp > 1, layout.tp == 1]"],
     "sweep.where: no point of the sweep meets every condition"),
    ("experts of a dense model", ["sweep=moe"],
     "sweep.where: no point of the sweep meets 'model.experts > 0'"),
    ("derived of no field", [GRID, "sweep.axes.train.global_batch=['= layout.micro_batches']"],
     "sweep.axes.train.global_batch[0]: 'layout.micro_batches': no field 'micro_batches'; did you mean 'micro_batch'?"),
    ("derived cut short", [GRID, "sweep.axes.train.global_batch=['= 3 *']"],
     "sweep.axes.train.global_batch[0]: '3 *' is not an expression"),
    ("derived of a wrong type", [GRID, "sweep.axes.train.global_batch=['= 1 / 3']"],
     "sweep.axes.train.global_batch[0]: '1 / 3': expected a whole number, got 0.3333333333333333"),
    ("derived beyond all numbers", [GRID, "sweep.axes.train.global_batch=['= 24 ** 99999']"],
     "sweep.axes.train.global_batch[0]: '24 ** 99999' is above 9007199254740992"),
    ("derived of nearly a name", [GRID, "sweep.axes.train.global_batch=['= 12 * cluster.gpu']"],
     "sweep.axes.train.global_batch[0]: '12 * cluster.gpu': no field 'gpu'; did you mean 'gpus'?"),
    ("allgather of a dense model", ["layout.dispatcher=allgather"],
     "dispatcher allgather needs ep > 1, ep is 1"),
    ("experts' module of a dense model", ["layout.recompute=selective", "layout.recompute_modules=[moe]"],
     "recompute_modules [moe]: moe needs a model with experts, tiny is dense"),
    ("module that needs another one's kernels", ["layout.recompute_modules=[mla_up_proj]"],
     "layout.recompute_modules[0]: 'mla_up_proj' is not one of core_attn, layernorm, mlp, moe, moe_act"),
    ("module that is no list", ["layout.recompute=selective", "layout.recompute_modules=mlp"],
     "layout.recompute_modules: expected a list, got 'mlp'; write [mlp]"),
    ("sweep file", ["--config-dir", "conf", "sweep=typo"],
     "sweep.axis: no such key; did you mean 'sweep.axes'?"),
    ("sweep file of a list", ["--config-dir", "conf", "sweep=list"],
     "sweep: expected a mapping, got [1, 2]"),
    ("not YAML", ["--config-dir", "conf", "sweep=broken"],
     "config: while parsing a flow sequence in \"{tmp}/conf/sweep/broken.yaml\", line 1, column 22"
     " expected ',' or ']', but got '}' in \"{tmp}/conf/sweep/broken.yaml\", line 1, column 27"),
    ("base of a file", ["--config-dir", "conf", "cluster=typo"],
     "cluster/typo.yaml: defaults: no 'h10' in cluster; did you mean 'h100'?"),
    ("base of another group", ["--config-dir", "conf", "cluster=other"],
     "cluster/other.yaml: defaults: no 'llama_7' in model; did you mean 'llama_7b'?"),
    ("no package", ["--config-dir", "conf", "cluster=bare"],
     "cluster=bare: the file says cluster: and scheduler: below cluster; its first line has to be"
     " '# @package _global_'"),
    ("no package of an axis", ["--config-dir", "conf", "sweep.axes.cluster=[h100,bare]"],
     "cluster=bare: the file says cluster: and scheduler: below cluster; its first line has to be"
     " '# @package _global_'"),
    # SLURM
    ("no sbatch", ["cluster=h100", "train.global_batch=32"],
     "scheduler.name: slurm, which cluster=h100 chooses, but there is no sbatch here; on the cards"
     " of this machine: scheduler.name=local cluster.nodes=1"),
    ("no sbatch to submit", ["submit", "cluster=h100", "train.global_batch=32"],
     "scheduler.name: slurm, which cluster=h100 chooses, but there is no sbatch here; on the cards"
     " of this machine: scheduler.name=local cluster.nodes=1"),
    ("partition of two lines", ["cluster=h100", "scheduler.partition=a\nb"],
     "scheduler.partition: 'a\\nb' is not one line"),
    ("comment of two lines", ["cluster=h100", 'scheduler.sbatch={comment: "a\nb"}'],
     "scheduler.sbatch.comment: 'a\\nb' is not one line"),
    ("secret", ["cluster=h100", "scheduler.environment.WANDB_API_KEY=x"],
     "scheduler.environment.WANDB_API_KEY: looks like a secret, which files would keep; export it"
     " where you call launch: sbatch passes the environment on"),
    ("secret of a sweep", ["-m", "cluster.environment.HF_TOKEN=a,b"],
     "cluster.environment.HF_TOKEN: looks like a secret, which files would keep; export it where"
     " you call launch"),
    ("a variable given twice", ["cluster=h100", "cluster.environment.A=1",
                                "scheduler.environment.A=2"],
     "cluster.environment.A: 1, and scheduler.environment.A: 2; give one of them"),
    ("key of the scheduler", ["scheduler.partion=a"],
     "scheduler.partion: no such key; did you mean 'scheduler.partition'?"),
    ("key of the container", ["scheduler.container.imag=a"],
     "scheduler.container.imag: no such key; did you mean 'scheduler.container.image'?"),
    ("runtime", ["cluster=h100", "scheduler.container={image: a, runtime: docker}"],
     "scheduler.container.runtime: 'docker' is not one of pyxis, apptainer"),
    ("detach", ["detach=true"],
     "detach: true, but scheduler.name local ends its trials when it ends"),
    ("submit here", ["submit"],
     "scheduler.name: local has no queue; cluster=h100 and the like do"),
    ("dry run here", ["submit", "--dry-run"],
     "scheduler.name: local has no queue; cluster=h100 and the like do"),
    ("a parameter of ours", ["submit", "cluster=h100", "scheduler.sbatch.job-name=x"],
     "scheduler.sbatch.job-name: is how a job is found again; leave it out"),
    ("samples of nothing", ["sampling.prompts=[a]"],
     "sampling: follows checkpoints; give checkpoint_every"),
    ("nothing to sample", ["checkpoint_every=5", "sampling.prompts=[]",
                           "sampling.validation_sequences=0"],
     "sampling.prompts: is empty, and so is validation_sequences 0"),
    ("script", ["checkpoint_every=5", "sampling.prompts=[a]", "sampling.script=japanse"],
     "sampling.script: 'japanse' is not one of latin, japanese, chinese, korean, cyrillic, greek,"
     " arabic, hebrew, devanagari, thai; did you mean 'japanese'?"),
    ("a prompt without tokenizer", ["checkpoint_every=5", "sampling.prompts=[a]",
                                    "data.blend={ids: 1}"],
     "data.tokenizer: bpe, but all data are token ids already, and a prompt is text:"
     " give the tokenizer.json that these were made with"),
    ("sample of nowhere", ["sample", "nowhere"], "nowhere is not a folder"),
    ("sample of nothing", ["sample", "."], ".: no runs below this folder"),
    ("prompt to nothing", ["sample", ".", "--prompt", "a"], ".: no runs below this folder"),
    ("no time to train", ["cluster=h100", "checkpoint_every=5", "time_limit=100"],
     "scheduler.signal_before: 120 s for the last checkpoint leaves less than half of"
     " time_limit 100 s to train"),
    ("submit what cannot run", ["submit", "--dry-run", "cluster=h100", "train.global_batch=32",
                                "layout.tp=3"],
     "tp 3 does not divide 16 gpus"),
    ("cancel of nothing", ["cancel", "."],
     "{tmp}: nothing of SLURM's is queued or runs below this folder"),
    ("status of nothing", ["status", "."], ".: no runs below this folder"),
    ("check of a grid", ["check", "-m", "cluster.nodes=1,2"],
     "--multirun: one set of nodes is checked at a time"),
    ("check without sbatch", ["check", "cluster=h100"],
     "scheduler.name: slurm, which cluster=h100 chooses, but there is no sbatch here; on the cards"
     " of this machine: scheduler.name=local cluster.nodes=1"),
    # paths and tables
    ("output below a file", ["output=file"], "output: {tmp}/file/single: Not a directory"),
    ("cache below a file", ["cache=file/c"], "cache: {tmp}/file/c: Not a directory"),
    ("nodes here", ["cluster.nodes=2"], "cluster.nodes: 2, scheduler.name local runs on one"),
    ("cards shared", ["cluster=h100", "scheduler.name=local", "cluster.nodes=1", "parallel=2",
                      "train.global_batch=32"],
     "parallel: 2 trials would share one H100-SXM5-80GB"),
    ("no output", ["output="], "output: is empty; name a folder"),
    ("name", ["name=a/b"], "name: 'a/b' cannot name a folder"),
    ("table of nothing", ["table", "."], ".: no runs below this folder"),
    ("table of nowhere", ["table", "nowhere"], "nowhere is not a folder"),
    ("sort", ["--sort", "tokens_per_sec"],
     "--sort: no 'tokens_per_sec'; did you mean 'tokens_per_s'?"),
    ("format of a terminal", ["--format", "parquet"],
     "--format parquet is not text: say where with --output FILE"),
    ("output of the table", ["--output", "nowhere/t.csv"],
     "--output: no folder nowhere to write t.csv in"),
]  # fmt: skip


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder but for what some of the requests point at."""
    contents = {
        "empty.txt": "",
        "blank.txt": "\n \n",
        "bad.jsonl": '{"text": "fine"}\nnot json\n',
        "no_text.jsonl": '{"body": "x"}\n',
        "half.bin": "x",
        "junk.bin": "x",
        "junk.idx": "junk",
        "ids.bin": "x",
        "ids.idx": "MMIDIDX\0\0",
        "junk.json": "junk",
        "odd.json": '{"hello": 1}',
        "file": "x",
        "conf/sweep/typo.yaml": "name: typo\naxis: {layout: {tp: [1, 2]}}\n",
        "conf/sweep/list.yaml": "- 1\n- 2\n",
        "conf/sweep/broken.yaml": "axes: {layout: { tp: [1, 2}}\n",
        "conf/cluster/typo.yaml": "# @package _global_\ndefaults: [h10, _self_]\n",
        "conf/cluster/other.yaml": "# @package _global_\ndefaults: [{/model: llama_7}, _self_]\n",
        "conf/cluster/bare.yaml": "cluster: {nodes: 1}\nscheduler: {partition: a}\n",
    }
    for name, text in contents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MEGALAUNCH_CACHE", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))  # a machine without SLURM
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"), [r[1:] for r in REQUESTS], ids=[r[0] for r in REQUESTS]
)
def test_a_wrong_request(
    words: list[str], message: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = sorted(files.rglob("*"))
    code = main(words)
    printed, errors = capsys.readouterr()
    assert errors == f"launch: {message.replace('{tmp}', str(files))}\n"
    assert (code, printed) == (2, "")
    assert sorted(files.rglob("*")) == paths, "something was started"
