"""launch/jobset.yaml: core schemas for what is Kubernetes's, a list of fields for JobSet's."""

import copy
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

FILE = Path(__file__).parents[2] / "launch" / "jobset.yaml"
VERSIONS = ["1.31", "1.34"]  # of Kubernetes
JOB = object()  # a job template, which the schema of Kubernetes checks

# Of jobset.x-k8s.io/v1alpha2, api/jobset/v1alpha2/jobset_types.go at 08dfbdf: a type, the values
# there are, a list of one kind of thing, or fields.
JOBSET = {
    "apiVersion": {"jobset.x-k8s.io/v1alpha2"},
    "kind": {"JobSet"},
    "metadata": {"name": str, "annotations": dict},
    "spec": {
        "replicatedJobs": [
            {
                "name": str,
                "groupName": str,
                "template": JOB,
                "replicas": int,
                "dependsOn": [{"name": str, "status": {"Ready", "Complete"}}],
            }
        ],
        "network": {
            "enableDNSHostnames": bool,
            "subdomain": str,
            "publishNotReadyAddresses": bool,
        },
        "successPolicy": {"operator": {"All", "Any"}, "targetReplicatedJobs": [str]},
        "failurePolicy": {
            "maxRestarts": int,
            "restartStrategy": {"Recreate", "BlockingRecreate", "InPlaceRestart"},
            "rules": [
                {
                    "name": str,
                    "action": {
                        "FailJobSet",
                        "RestartJobSet",
                        "RestartJobSetAndIgnoreMaxRestarts",
                        "RestartJob",
                        "RestartJobAndIgnoreMaxRestarts",
                    },
                    # the reasons a Job of Kubernetes fails for; JobSet's webhook knows these
                    "onJobFailureReasons": [
                        {
                            "BackoffLimitExceeded",
                            "DeadlineExceeded",
                            "FailedIndexes",
                            "MaxFailedIndexesExceeded",
                            "PodFailurePolicy",
                        }
                    ],
                    "onJobFailureMessagePatterns": [str],
                    "targetReplicatedJobs": [str],
                }
            ],
        },
        "startupPolicy": {"startupPolicyOrder": {"AnyOrder", "InOrder"}},
        "suspend": bool,
        "coordinator": {"replicatedJob": str, "jobIndex": int, "podIndex": int},
        "managedBy": str,
        "ttlSecondsAfterFinished": int,
    },
}


def _wrong(value, known, at=""):
    """What `value` has that `known` does not allow."""
    if known is JOB:
        return [] if isinstance(value, dict) and set(value) <= {"metadata", "spec"} else [at]
    if isinstance(known, set):
        return [] if value in known else [at]
    if isinstance(known, type):
        return [] if type(value) is known else [at]
    if not isinstance(value, type(known)):
        return [at]
    if isinstance(known, list):
        return [w for i, item in enumerate(value) for w in _wrong(item, known[0], f"{at}[{i}]")]
    unknown = [f"{at}.{name}" for name in value if name not in known]
    inner = (_wrong(value[name], known[name], f"{at}.{name}") for name in value if name in known)
    return unknown + [w for each in inner for w in each]


@pytest.fixture
def jobset():
    return yaml.safe_load(FILE.read_text())


@pytest.fixture
def job(jobset):
    """The only child, as JobSet makes it."""
    [replicated] = jobset["spec"]["replicatedJobs"]
    metadata = {"name": "datafree-nas-slice-0"}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata} | replicated["template"]


@pytest.fixture
def pod(job):
    metadata = {"name": "datafree-nas-slice-0-0"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata} | job["spec"]["template"]


def test_fields_of_jobset(jobset):
    assert _wrong(jobset, JOBSET) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_schemas_of_kubernetes(job, pod, version):
    kubernetes_validate.validate(job, version, strict=True)
    kubernetes_validate.validate(pod, version, strict=True)


def test_the_checks_find_mistakes(jobset, job, pod):
    spec = jobset["spec"]
    spec["failurePolicy"]["maxRestart"] = spec["failurePolicy"].pop("maxRestarts")
    spec["failurePolicy"]["rules"][0]["action"] = "FailJob"
    spec["network"]["subdomain"] = 1
    assert sorted(_wrong(jobset, JOBSET)) == [
        ".spec.failurePolicy.maxRestart",
        ".spec.failurePolicy.rules[0].action",
        ".spec.network.subdomain",
    ]
    for resource, field, value in [
        (job, "backofLimit", 0),
        (job, "parallelism", "four"),
        (pod, "terminationGracePeriod", 45),
        (pod, "nodeSelector", ["a"]),
    ]:
        changed = copy.deepcopy(resource)
        changed["spec"][field] = value
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(changed, VERSIONS[0], strict=True)


def test_mistakes_of_the_user_end_it(jobset, job, pod):
    """Exit status 2 fails the job for this reason, the reason the JobSet; nothing else does."""
    [rule] = job["spec"]["podFailurePolicy"]["rules"]
    [container] = pod["spec"]["containers"]
    assert rule["action"] == "FailJob"
    assert rule["onExitCodes"] == {
        "containerName": container["name"],
        "operator": "In",
        "values": [2],
    }
    assert pod["spec"]["restartPolicy"] == "Never"  # without it no podFailurePolicy is accepted
    [policy] = jobset["spec"]["failurePolicy"]["rules"]
    assert (policy["action"], policy["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])
    assert jobset["spec"]["failurePolicy"]["maxRestarts"] > 0
    assert job["spec"]["backoffLimit"] == 0


def test_one_pod_a_host(job, pod):
    spec, [container] = job["spec"], pod["spec"]["containers"]
    selector, resources = pod["spec"]["nodeSelector"], container["resources"]
    assert spec["parallelism"] == spec["completions"]
    assert spec["completionMode"] == "Indexed"
    rows, columns = map(int, selector["cloud.google.com/gke-tpu-topology"].split("x"))
    assert resources["requests"] == resources["limits"]
    assert spec["completions"] * resources["limits"]["google.com/tpu"] == rows * columns
    assert pod["spec"]["terminationGracePeriodSeconds"] == 45
    assert "command" not in container  # the image's, which SIGTERM reaches
