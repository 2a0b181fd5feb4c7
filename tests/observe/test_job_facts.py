"""Variables, parameters and seeds: what a command line and an environment show without watching."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook.model.fact import missing
from runbook.observe.interface import Context
from runbook.observe.names import looks_secret
from runbook.observe.parameters import from_argv
from runbook.observe.seeds import MEMBER as SEEDS
from runbook.observe.urls import without_credentials
from runbook.observe.variables import allowed


def kept(env, extra=()):
    return {v.name: v.value for v in allowed(env, extra)[0]}


@pytest.mark.parametrize(
    "name",
    (
        *(
            "PYTHONHASHSEED",
            "TOKENIZERS_PARALLELISM",
            "OMP_NUM_THREADS",
            "CUBLAS_WORKSPACE_CONFIG",
            "LC_ALL",
            "TZ",
            "RANK",
        ),
        *(
            "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD",
            "MPLBACKEND",
            "HF_HUB_OFFLINE",
            "XLA_FLAGS",
            "WORLD_SIZE",
            "MKL_CBWR",
        ),
    ),
)
def test_what_decides_results_is_kept(name):
    assert kept({name: "1"}) == {name: "1"}


@pytest.mark.parametrize(
    "name",
    (
        *(
            "HF_TOKEN",
            "HUGGING_FACE_HUB_TOKEN",
            "AWS_SECRET_ACCESS_KEY",
            "PYTHON_API_KEY",
            "TORCH_PASSWORD",
            "TF_AUTH",
        ),
        *("JAX_COOKIE", "NCCL_CREDENTIALS", "HF_ACCESSTOKEN", "PYTHONKEYS_KEY", "wandb_api_key", "dbPassword"),
    ),
)
def test_names_that_look_secret_are_dropped_even_when_asked_for(name):
    variables, dropped = allowed({name: "v"}, [name])
    assert (variables, dropped) == ((), 1)
    assert looks_secret(name)


@pytest.mark.parametrize("name", ["KEYBOARD", "AUTHOR", "MONKEY", "COMPASS", "PWD", "TOKENIZER_PATH"])
def test_harmless_names_are_not_called_secret(name):
    assert not looks_secret(name)


def test_others_are_counted_and_named_ones_added():
    variables, dropped = allowed({"HOME": "/h", "MY_FLAG": "1", "TZ": "UTC"}, ["MY_FLAG", "ABSENT"])
    assert ([v.name for v in variables], dropped) == (["MY_FLAG", "TZ"], 1)


def test_credentials_inside_a_kept_value_are_masked_and_marked():
    (one,), _ = allowed({"HF_ENDPOINT": "https://me:pw@hub.example/x"})
    assert (one.value, one.redacted) == ("https://hub.example/x", True)


@settings(max_examples=60)
@given(
    st.text(alphabet="abcXYZ019%-_.", min_size=1, max_size=20),
    st.text(alphabet="abcXYZ019%-_.:", min_size=8, max_size=20),
)
def test_no_password_survives_in_a_url(user, password):
    shown = without_credentials(f"https://{user}:{password}@host.example/path?x=1")
    assert shown == "https://host.example/path?x=1"


@pytest.mark.parametrize("text", ["/a/path", "git@host.example:a/b", "plain", "", "http://[broken"])
def test_what_is_no_url_with_credentials_is_left_or_made_unreadable(text):
    assert without_credentials(text) in (text, "http://(unreadable)")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("python train.py --lr 0.1 --epochs=3 --amp", {"lr": "0.1", "epochs": "3", "amp": "true"}),
        ("python -u train.py 0.5 0.1", {"arg1": "0.5", "arg2": "0.1"}),
        ("python train.py data.csv 10", {"arg2": "10"}),
        ("python -m pkg.train lr=0.1 +model.depth=4 ++x.y=z", {"lr": "0.1", "model.depth": "4", "x.y": "z"}),
        ("torchrun --nproc-per-node 2 train.py --max-steps 501 -n 0", {"max-steps": "501", "n": "0"}),
        (
            "python train.py --shift -0.5 --layers 64 32 --tag a --tag b",
            {"shift": "-0.5", "layers": "64 32", "tag": "a,b"},
        ),
        ("python train.py --api-key abc --token=xyz --lr 1e-3", {"lr": "1e-3"}),
        ("python train.py -- 7", {"arg1": "7"}),
        ("python", {}),
        ("", {}),
    ],
)
def test_parameters_are_read_from_the_command_line(words, found):
    assert from_argv(words.split()) == found


@given(st.lists(st.text(max_size=12), max_size=8))
def test_any_command_line_has_parameters_that_are_text(words):
    assert all(isinstance(k, str) and isinstance(v, str) for k, v in from_argv(words).items())


def seeds(words, env=None):
    here = Path("/")
    context = Context(
        argv=tuple(words.split()), root=here, cwd=here, env=env or {}, interpreter=missing("x"), probe=None
    )
    return [(s.name, s.value, s.evidence) for s in SEEDS.collect(context)]


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("python t.py --seed 3407", "argv --seed", "3407"),
        ("python t.py --random-state=42", "argv --random-state", "42"),
        ("python t.py seed=1", "argv seed=", "1"),
        ("python t.py trainer.seed=1", "argv trainer.seed=", "1"),
        ("python t.py --np_random_seed 5", "argv --np_random_seed", "5"),
    ],
)
def test_seeds_on_the_command_line_are_declared(words, name, value):
    assert seeds(words) == [(name, value, "declared")]


def test_the_hash_seed_is_observed_unless_it_is_random():
    assert seeds("python t.py", {"PYTHONHASHSEED": "0"}) == [("PYTHONHASHSEED", "0", "observed")]
    assert seeds("python t.py", {"PYTHONHASHSEED": "random"}) == []


@pytest.mark.parametrize("words", ["python t.py --seedling 3", "python t.py --lr 0.1", "python seed.py"])
def test_no_seed_is_invented(words):
    assert seeds(words) == []


def test_of_what_begins_with_tf_only_tensorflows_is_kept() -> None:
    tensorflow = {
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_XLA_FLAGS": "--tf_xla_auto_jit=2",
    }
    tensorflow |= {"TF_CONFIG": "{}", "TF_ENABLE_ONEDNN_OPTS": "0", "TF_USE_LEGACY_KERAS": "1"}
    terraform = {"TF_CLI_CONFIG_FILE": "/home/a/.terraformrc", "TF_VAR_password": "p", "TF_VAR_region": "r"}
    terraform |= {"TF_CLI_ARGS": "-var x=y", "TF_LOG": "TRACE", "TF_DATA_DIR": "/d", "TF_WORKSPACE": "production"}
    assert kept({**tensorflow, **terraform}) == tensorflow
