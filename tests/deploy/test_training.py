"""The examples of training on many machines: their form, and their options against the programs."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from argparse import Namespace
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # it ships no types
import pytest
import yaml
from jsonschema import Draft202012Validator
from torch.distributed.run import get_args_parser

from models.train.stage2 import make_parser
from tests.deploy.names import ROOT

FOLDER = ROOT / "deploy" / "train"
SCHEMA = Path(__file__).with_name("schemas") / "jobset.json"
KUBERNETES = "1.30"


def job_set() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((FOLDER / "jobset.yaml").read_text())
    return document


def job() -> dict[str, Any]:
    (replicated,) = job_set()["spec"]["replicatedJobs"]
    template: dict[str, Any] = replicated["template"]
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "node"}, **template}


def of_kubernetes() -> list[str]:
    (container,) = job()["spec"]["template"]["spec"]["containers"]
    command: list[str] = container["command"]
    return command


def of_slurm() -> list[str]:
    """What srun starts, with variables as they stand."""
    script = (FOLDER / "slurm.sh").read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^srun (.*)$", script, re.M)
    return shlex.split(line.replace("$SLURM_NNODES", "4"))


def parsed(command: list[str]) -> tuple[Namespace, Namespace]:
    """The options of torchrun, and of stage2; an unknown one ends the test."""
    assert command[0] == "torchrun"
    outer = get_args_parser().parse_args(command[1:])
    assert (outer.training_script, outer.training_script_args[0]) == ("models.train", "stage2")
    return outer, make_parser().parse_args(outer.training_script_args[1:])


def test_the_job_set_and_the_job_in_it_are_valid() -> None:
    schema = json.loads(SCHEMA.read_text())["JobSet"]
    assert [error.message for error in Draft202012Validator(schema).iter_errors(job_set())] == []
    kubernetes_validate.validate(job(), KUBERNETES, strict=True)


def test_the_processes_find_each_other_and_are_given_the_time_to_save() -> None:
    document, spec = job_set(), job()["spec"]
    outer, _ = parsed(of_kubernetes())
    name = document["metadata"]["name"]
    assert outer.rdzv_endpoint == f"{name}-node-0-0.{name}:29400"
    assert int(outer.nnodes) == spec["completions"] == spec["parallelism"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert int(outer.nproc_per_node) == container["resources"]["limits"]["nvidia.com/gpu"]
    (shutdown,) = (int(variable["value"]) for variable in container["env"])
    assert shutdown < pod["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("command", [of_kubernetes(), of_slurm()], ids=["jobset", "slurm"])
def test_what_is_started_is_the_references_transfer(command: list[str]) -> None:
    """512 pictures a step, eight epochs of ImageNet's training pictures."""
    outer, args = parsed(command)
    assert args.batch % (int(outer.nnodes) * int(outer.nproc_per_node)) == 0
    assert args.steps == 1_281_167 // args.batch * 8
    assert args.resume
    assert args.fsdp


def test_the_script_is_one_for_bash() -> None:
    done = subprocess.run(
        ["bash", "-n", FOLDER / "slurm.sh"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
