from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]  # it ships no types
import pytest
from helm_python import HelmError
from helm_python.chart import lint
from jsonschema import Draft202012Validator

from models.presets.register import PRESETS
from service.broker.keys import Key
from tests.deploy.chart import (
    EXAMPLES,
    FOLDER,
    Object,
    environment,
    example,
    of_kind,
    pods,
    render,
    rendered,
    texts,
)

SCHEMAS = Path(__file__).with_name("schemas")
CUSTOM = {
    "ScaledObject": "scaledobject.json",
    "TriggerAuthentication": "scaledobject.json",
    "ServiceMonitor": "servicemonitor.json",
}
KUBERNETES = "1.30"

every_example = pytest.mark.parametrize("name", EXAMPLES)


def problems(each: Object) -> list[str]:
    document = json.loads((SCHEMAS / CUSTOM[each["kind"]]).read_text())
    schema = {"$defs": document["$defs"], **document[each["kind"]]}
    return [error.message for error in Draft202012Validator(schema).iter_errors(each)]


def workers(objects: tuple[Object, ...] | list[Object]) -> Iterator[tuple[str, Object]]:
    for name, pod in pods(objects).items():
        if pod["containers"][0]["name"] == "worker":
            yield name, pod


def test_there_are_examples_for_a_trial_one_gpu_and_a_fleet() -> None:
    assert EXAMPLES == ("cpu-trial", "gpu-fleet", "one-gpu")


@every_example
def test_what_helm_tells_to_try_has_a_key_where_one_is_needed(name: str) -> None:
    values = example(name)
    (notes,) = [text for path, text in texts(values).items() if path.endswith("NOTES.txt")]

    assert "/v1/images/generations" in notes
    assert ("Bearer" in notes) == (values["auth"]["mode"] == "required")


@every_example
def test_helm_finds_nothing_to_complain_of(name: str) -> None:
    report = lint(FOLDER, example(name), strict=True)

    assert not report["errors"]
    assert [m["error"] for m in report["messages"] if m["severity"] >= 2] == []


@every_example
def test_every_object_is_valid(name: str) -> None:
    for each in rendered(name):
        if each["kind"] in CUSTOM:
            assert problems(each) == [], each["metadata"]["name"]
        else:
            kubernetes_validate.validate(each, KUBERNETES, strict=True)


def test_the_schemas_of_custom_objects_refuse_what_their_owners_refuse() -> None:
    scaled = next(iter(of_kind(rendered("one-gpu"), "ScaledObject").values()))
    monitor = next(iter(of_kind(rendered("gpu-fleet"), "ServiceMonitor").values()))

    assert problems(scaled | {"spec": scaled["spec"] | {"maxReplicas": 3}})
    assert problems(scaled | {"spec": {k: v for k, v in scaled["spec"].items() if k != "triggers"}})
    assert problems(monitor | {"spec": monitor["spec"] | {"endpoints": [{"port": 8000}]}})


@every_example
def test_no_name_is_given_twice(name: str) -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in rendered(name)]

    assert len(names) == len(set(names))


@every_example
def test_pods_are_not_root_and_write_nowhere_but_to_their_volumes(name: str) -> None:
    for pod in pods(rendered(name)).values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


@every_example
def test_services_put_no_variables_into_the_pods(name: str) -> None:
    """A release named mindalle would bring MINDALLE_API_PORT, which is no setting: a crash loop."""
    assert all(pod["enableServiceLinks"] is False for pod in pods(rendered(name)).values())


@every_example
def test_the_grace_time_is_longer_than_the_drain(name: str) -> None:
    for pod in pods(rendered(name)).values():
        values = environment(pod) if "env" in pod["containers"][0] else {}
        drains = [float(v) for k, v in values.items() if k.endswith("__DRAIN_GRACE_S")]
        stop = pod["containers"][0].get("lifecycle", {}).get("preStop", {}).get("exec", {})
        asleep = float(stop["command"][1]) if stop else 0.0
        for drain in drains:
            assert pod["terminationGracePeriodSeconds"] >= asleep + drain + 10


@every_example
def test_the_api_stays_in_service_until_its_endpoints_are_gone(name: str) -> None:
    pod = pods(rendered(name))["mindalle-api"]

    assert pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "5"]


@every_example
def test_workers_scale_on_the_jobs_of_their_model(name: str) -> None:
    scaled = of_kind(rendered(name), "ScaledObject")
    for worker, pod in workers(rendered(name)):
        if worker not in scaled:
            continue
        (trigger,) = scaled[worker]["spec"]["triggers"]
        model = environment(pod)["MINDALLE_MODEL"]
        assert trigger["metadata"]["listName"] == Key.LIVE.of(model)
        assert trigger["metadata"]["activationListLength"] == "0"
        assert scaled[worker]["spec"]["scaleTargetRef"]["name"] == worker


@every_example
def test_from_zero_workers_the_api_must_take_jobs(name: str) -> None:
    """Else nothing would ever wait, and no worker would ever come."""
    scaled = of_kind(rendered(name), "ScaledObject")
    on_demand = {
        environment(pod)["MINDALLE_MODEL"]
        for worker, pod in workers(rendered(name))
        if worker in scaled and scaled[worker]["spec"]["minReplicaCount"] == 0
    }
    api = environment(pods(rendered(name))["mindalle-api"])

    assert api.get("MINDALLE_API__ON_DEMAND_MODELS", "") == ",".join(sorted(on_demand))


def test_models_that_share_a_worker_are_told_and_counted_each() -> None:
    values = example("one-gpu")
    values["workers"]["mindalle"]["models"] = ["emoji", "rq-ffhq=/weights/rq"]
    objects = render(values)
    own = environment(pods(objects)["mindalle-worker-mindalle"])
    first, *others = own["MINDALLE_WORKER__MODELS"].split(",")
    assert first.partition("=")[0] == own["MINDALLE_MODEL"]
    assert others == ["emoji", "rq-ffhq=/weights/rq"]
    assert "MINDALLE_WORKER__CHECKPOINT" not in own
    scaled = of_kind(objects, "ScaledObject")["mindalle-worker-mindalle"]
    keys = [trigger["metadata"]["listName"] for trigger in scaled["spec"]["triggers"]]
    assert keys == [
        f"{{mindalle}}:live:{name}" for name in (own["MINDALLE_MODEL"], "emoji", "rq-ffhq")
    ]
    api = environment(pods(objects)["mindalle-api"])
    assert {"emoji", "rq-ffhq"} <= set(api["MINDALLE_API__ON_DEMAND_MODELS"].split(","))


def test_settings_come_as_they_are_written() -> None:
    values = example("cpu-trial") | {"queue": {"max_depth": 1_000_000}}
    values["api"]["env"] = values["workers"]["emoji"]["env"] = {"OTEL_A": 16_777_216, "OTEL_B": 2.5}
    for name in ("mindalle-api", "mindalle-worker-emoji"):
        found = environment(pods(render(values))[name])
        written = [found[key] for key in ("MINDALLE_QUEUE__MAX_DEPTH", "OTEL_A", "OTEL_B")]
        assert written == ["1000000", "16777216", "2.5"]


def test_gpus_are_asked_for() -> None:
    pod = pods(rendered("one-gpu"))["mindalle-worker-mindalle"]

    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1


@every_example
def test_secrets_come_by_reference_only(name: str) -> None:
    assert not of_kind(rendered(name), "Secret")
    for pod in pods(rendered(name)).values():
        for variable in pod["containers"][0].get("env", []):
            if "value" in variable:
                continue
            assert set(variable["valueFrom"]) <= {"secretKeyRef", "fieldRef"}


def test_the_password_of_redis_reaches_all_who_need_it() -> None:
    objects = rendered("gpu-fleet")
    urls = {environment(pod)["MINDALLE_REDIS__URL"] for pod in pods(objects).values()}
    trigger = of_kind(objects, "ScaledObject")["mindalle-worker-mindalle"]["spec"]["triggers"][0]
    login = of_kind(objects, "TriggerAuthentication")["mindalle-redis"]["spec"]

    assert urls == {"rediss://mindalle:$(REDIS_PASSWORD)@redis.example.org:6380/0"}
    assert trigger["authenticationRef"] == {"name": "mindalle-redis"}
    assert trigger["metadata"]["address"] == "redis.example.org:6380"
    assert trigger["metadata"]["enableTLS"] == "true"
    assert login["secretTargetRef"][0]["name"] == "mindalle-redis"


def test_api_and_workers_keep_their_results_in_the_same_place() -> None:
    objects = rendered("gpu-fleet")
    found = [pod for name, pod in pods(objects).items() if not name.endswith("redis")]
    policy = of_kind(objects, "NetworkPolicy")["mindalle-worker"]["spec"]

    assert {environment(pod)["MINDALLE_RESULTS__URL"] for pod in found} == {
        "s3://images-example/results"
    }
    for pod in found:
        secret = {"secretRef": {"name": "mindalle-bucket"}}
        assert pod["containers"][0]["envFrom"] == [secret]
    assert 443 in [port["port"] for rule in policy["egress"] for port in rule["ports"]]


def test_keda_finds_the_bundled_redis_from_its_own_namespace() -> None:
    scaled = of_kind(rendered("one-gpu"), "ScaledObject")["mindalle-worker-mindalle"]

    address = scaled["spec"]["triggers"][0]["metadata"]["address"]
    assert address == "mindalle-redis.images.svc:6379"


def test_the_bundled_redis_keeps_what_it_accepted() -> None:
    command = pods(rendered("cpu-trial"))["mindalle-redis"]["containers"][0]["args"]
    options = dict(zip(command[1::2], command[2::2], strict=True))

    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"


@every_example
def test_examples_name_models_that_exist(name: str) -> None:
    values = example(name)
    presets = [worker["preset"] for worker in values["workers"].values() if worker]

    assert set(presets) <= set(PRESETS)
    assert values.get("model", "emoji") in presets


@every_example
def test_policies_open_the_ports_that_are_used(name: str) -> None:
    policies = of_kind(rendered(name), "NetworkPolicy")
    api = policies["mindalle-api"]["spec"]
    redis = environment(pods(rendered(name))["mindalle-api"])["MINDALLE_REDIS__URL"]
    outward = [port["port"] for rule in api["egress"] for port in rule["ports"]]

    assert api["ingress"][0]["ports"][0]["port"] == 8000
    assert int(redis.rpartition(":")[2].partition("/")[0]) in outward


def test_only_an_api_with_webhooks_may_reach_the_world() -> None:
    for name in EXAMPLES:
        assert len(outward_of(name)) == (name == "gpu-fleet")
        worker = of_kind(rendered(name), "NetworkPolicy")["mindalle-worker"]
        assert "ipBlock" not in str(worker)
    api = pods(rendered("gpu-fleet"))["mindalle-api"]
    ports = [port["port"] for rule in outward_of("gpu-fleet") for port in rule["ports"]]
    assert environment(api)["MINDALLE_WEBHOOKS__PORTS"] == ",".join(map(str, ports))


def outward_of(name: str) -> list[Object]:
    """The rules by which an example's API may leave the cluster."""
    egress = of_kind(rendered(name), "NetworkPolicy")["mindalle-api"]["spec"]["egress"]
    return [rule for rule in egress if "ipBlock" in str(rule)]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, "auth.keysSecret"),
        ({"auth": {"mode": "off"}, "workers": {"emoji": {"preset": "emoji", "gpu": 1}}}, "gpu"),
        ({"auth": {"mode": "off"}, "workers": {"more": {"rows": 4}}}, "preset"),
        ({"auth": {"mode": "off"}, "api": {"prot": 80}}, "prot"),
        ({"auth": {"mode": "off"}, "redis": {"bundled": False}}, "redis.external.host"),
        ({"auth": {"mode": "off"}, "results": {"url": "file:///results"}}, "results.url"),
        ({"auth": {"mode": "off"}, "redis": {"fsync": "sometimes"}}, "fsync"),
    ],
)
def test_wrong_values_are_refused_by_name(values: Object, reason: str) -> None:
    with pytest.raises(HelmError, match=reason):
        render(values)
