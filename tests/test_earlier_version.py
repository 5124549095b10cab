"""Runs and spec ids of commit 3a596b7: read, continued and tabled by the code of now.

``data/earlier_version`` is the folder of a sweep of three points, whose launcher and ranks were
killed: one trial done, one at step 21 with a checkpoint of step 20, one rejected.
"""

import json
import shlex
import shutil
from pathlib import Path

import pytest

from launcher.campaign.plan import expanded
from launcher.request.compose import compose
from tests.conftest import ROOT, Launch

DATA = ROOT / "tests" / "data"

COMMAND = shlex.split(
    "-m layout.tp=1,2,3 model.layers=1 model.hidden=16 model.ffn=32 model.heads=2 model.kv_heads=2"
    " model.vocab=300 model.sequence=32 data.tokenizer=bytes train.global_batch=4 train.steps=60"
    " checkpoint_every=20 checkpoints.keep_last=1 cluster.gpus_per_node=2 train.precision=fp32"
    " parallel=1 name=before tracking.wandb=off tracking.tensorboard=false"
)

TABLE = [
    ("5f18e2213afa", "ok", None, 60, 1, 5.946405410766602, 4.469137191772461),
    ("534ab45f4229", "ok", None, 60, 2, 5.94640588760376, 4.469137191772461),
    ("4c2a523809f5", "rejected", "tp 3 does not divide 2 gpus", None, None, None, None),
]
"""spec_id, outcome, cause, steps, attempt, first and last loss, as 3a596b7 itself ends it."""


def test_a_sweep_of_an_earlier_version_is_read_and_continued(
    tmp_path: Path, launch: Launch
) -> None:
    sweep = tmp_path / "runs" / "before"
    shutil.copytree(DATA / "earlier_version", sweep)
    listed = launch("table", str(sweep), "--format", "json")
    assert [row["outcome"] for row in json.loads(listed.stdout)] == ["ok", "rejected"]
    assert "1 of 3 points have not been run to their end yet: 1 running" in listed.stderr

    ended = launch(*COMMAND, "--format", "json", "--sort", "row")
    assert ended.returncode == 0, ended.stderr
    for row, (*texts, first, last) in zip(json.loads(ended.stdout), TABLE, strict=True):
        columns = ("spec_id", "outcome", "cause", "steps", "attempt")
        assert [row[name] for name in columns] == texts
        # The processor that trains now may round otherwise than that of then.
        for name, loss in (("loss_first", first), ("loss_last", last)):
            assert row[name] == (loss if loss is None else pytest.approx(loss, rel=1e-5))
    events = (sweep / "534ab45f4229" / "events.jsonl").read_text()
    assert '"kind": "start", "step": 20' in events, "it goes on from the checkpoint of then"


@pytest.mark.parametrize("choice", json.loads((DATA / "spec_ids.json").read_text()))
def test_the_shipped_configurations_are_the_specs_they_were(choice: str, tmp_path: Path) -> None:
    ids = json.loads((DATA / "spec_ids.json").read_text())[choice]
    words = [] if choice == "default" else [choice]
    words += ["train=staged"] if choice.startswith("curriculum=") else []
    request = compose([*words, f"output={tmp_path}"])
    assert [spec.name for spec in expanded(request)] == ids
