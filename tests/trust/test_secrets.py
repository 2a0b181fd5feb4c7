"""Secrets are found, masked and never repeated; ordinary training code is left alone.

The planted values are made here, at random from a fixed seed: none is written down, and none is anybody's.
"""

import base64
import importlib.util
import json
import random
import re
import string
import sysconfig
import uuid
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.errors import SecretFound
from runbook.trust import secrets
from runbook.trust.secrets import as_error, mask, mask_argv, mask_text, mask_value, scan, scan_files, secret_name

DICE = random.Random(20261123)
LOWER_HEX = "0123456789abcdef"
ALNUM = string.ascii_letters + string.digits
UPPER = string.ascii_uppercase + string.digits


def some(count, alphabet=ALNUM):
    """Characters with at least a digit and a letter among them."""
    text = "".join(DICE.choice(alphabet) for _ in range(count - 2))
    return text + next(c for c in alphabet if c.isalpha()) + next(c for c in alphabet if c.isdigit())


def jwt():
    parts = ({"alg": "HS256"}, {"sub": some(12)})
    coded = [base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts]
    return ".".join((*coded, some(43)))


def key_block(kind="RSA "):
    lines = "\n".join(some(64) for _ in range(12))
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{lines}\n-----END {kind}PRIVATE KEY-----"


PLANTED = [
    ("aws-access-key", "key = '{}'", "AKIA" + some(16, UPPER)),
    ("aws-access-key", "export X={}", "ASIA" + some(16, UPPER)),
    ("aws-secret-key", "aws_secret_access_key = {}", some(40, ALNUM + "/+")),
    ("aws-secret-key", "AWS_SECRET_ACCESS_KEY: '{}'", some(40)),
    ("github-token", "{}", "ghp_" + some(36)),
    ("github-token", "git clone https://x.example?t={}", "github_pat_" + some(22) + "_" + some(59)),
    ("gitlab-token", "GITLAB={}", "glpat-" + some(20)),
    ("slack-token", "slack({!r})", "xoxb-" + some(12, string.digits + "a") + "-" + some(24)),
    ("slack-token", "{}", "xapp-1-" + some(11, UPPER) + "-" + "1234567890123" + "-" + some(64, LOWER_HEX)),
    ("slack-webhook", "https://hooks.slack.com/services/{}", f"T{some(8, UPPER)}/B{some(8, UPPER)}/{some(24)}"),
    ("stripe-key", "stripe.api_key = '{}'", "sk_live_" + some(24)),
    ("huggingface-token", "login(token='{}')", "hf_" + some(34)),
    ("huggingface-token", "HF_TOKEN={}", "hf_" + some(34)),
    ("wandb-key", "WANDB_API_KEY={}", some(40, LOWER_HEX)),
    ("wandb-key", "os.environ['WANDB_API_KEY'] = '{}'", some(40, LOWER_HEX)),
    ("wandb-key", "wandb login --relogin {}", some(40, LOWER_HEX)),
    ("wandb-key", "wandb.login(key='{}')", some(40, LOWER_HEX)),
    ("netrc-password", "machine api.wandb.example\n  login user\n  password {}", some(40, LOWER_HEX)),
    ("anthropic-key", "x = '{}'", "sk-ant-api03-" + some(93)),
    ("openai-key", "OpenAI(api_key='{}')", "sk-" + some(20) + "T3BlbkFJ" + some(20)),
    ("openai-key", "{}", "sk-proj-" + some(74)),
    ("groq-key", "{}", "gsk_" + some(52)),
    ("replicate-token", "{}", "r8_" + some(37)),
    ("neptune-token", "{}", "eyJhcGlfYWRkcmVzcyI6" + some(80)),
    ("kaggle-key", '{{"username":"me","key":"{}"}}', some(32, LOWER_HEX)),
    ("npm-token", "//registry.example/:_authToken={}", "npm_" + some(36)),
    ("npm-token", "//registry.example/:_authToken={}", str(uuid.UUID(int=DICE.getrandbits(128)))),
    ("pypi-token", "password = {}", "pypi-AgEIcHlwaS5vcmc" + some(120)),
    ("private-key", "{}", key_block()),
    ("private-key", "{}", key_block("")),
    ("private-key", "{}", key_block("OPENSSH ")),
    ("private-key", '"private_key": "{}"', key_block("").replace("\n", "\\n")),
    ("json-web-token", "Cookie: s={}", jwt()),
    ("azure-storage-key", "DefaultEndpointsProtocol=https;AccountName=a;AccountKey={};", some(86) + "=="),
    ("azure-access-key", "Endpoint=sb://x/;SharedAccessKeyName=r;SharedAccessKey={}", some(43) + "="),
    ("azure-sas", "https://a.blob.example/c?sv=2022&sig={}", some(43) + "%3D"),
    ("google-api-key", "genai.configure(api_key='{}')", "AIza" + some(35)),
    ("google-oauth-token", "{}", "ya29." + some(60)),
    ("google-client-secret", "{}", "GOCSPX-" + some(28)),
    ("google-service-account", '"private_key_id": "{}",', some(40, LOWER_HEX)),
    ("twilio-key", "{}", "SK" + some(32, LOWER_HEX)),
    ("sendgrid-key", "{}", "SG." + some(22) + "." + some(43)),
    ("telegram-token", "bot{}/getMe", " 123456789:AA" + some(33)),
    ("discord-token", "{}", "M" + some(24) + "." + some(6) + "." + some(27)),
    ("discord-webhook", "https://discord.com/api/webhooks/1234567/{}", some(68)),
    ("mailchimp-key", "{}", some(32, LOWER_HEX) + "-us12"),
    ("mailgun-key", "{}", "key-" + some(32, LOWER_HEX)),
    ("square-token", "{}", "sq0csp-" + some(43)),
    ("shopify-token", "{}", "shpat_" + some(32, LOWER_HEX)),
    ("digitalocean-token", "{}", "dop_v1_" + some(64, LOWER_HEX)),
    ("databricks-token", "{}", "dapi" + some(32, LOWER_HEX)),
    ("docker-token", "{}", "dckr_pat_" + some(27)),
    ("vault-token", "{}", "hvs." + some(90)),
    ("grafana-token", "{}", "glsa_" + some(32) + "_" + some(8, LOWER_HEX)),
    ("linear-key", "{}", "lin_api_" + some(40)),
    ("artifactory-key", "{}", "AKCp" + some(69)),
    ("age-key", "{}", "AGE-SECRET-KEY-1" + some(58, UPPER)),
    ("azure-client-secret", "{}", some(3) + "8Q~" + some(34)),
    ("authorization-header", "curl -H 'Authorization: Bearer {}'", some(40)),
    ("password-in-url", "postgresql://train:{}@db.example/runs", some(12)),
    ("password-in-url", "redis://:{}@cache.example:6379", some(12)),
    ("password-in-url", "https://user:{}@index.example/simple", some(12)),
    ("token-in-url", "https://{}@git.example/a/b.git", some(40)),
    ("password-assignment", "password = '{}'", some(10)),
    ("password-assignment", 'db_password: "{}"', some(9)),
    ("password-assignment", "POSTGRES_PASSWORD={}", some(9)),
    ("password-assignment", "DB_PASSWORD={}", "correcthorsebattery"),
    ("password-assignment", "mysql --password={} runs", some(9)),
    ("password-assignment", "Server=db;User Id=sa;Password={};", some(11)),
    ("password-assignment", "client.connect(password='{}')", "Tr0ub4dor&3"),
    ("key-assignment", "MY_API_KEY={}", some(32)),
    ("key-assignment", "service.token: {}", some(24)),
    ("key-assignment", '{{"access_key": "{}"}}', some(20)),
    ("key-assignment", "--auth-token={}", some(24)),
]
IDS = [f"{kind}-{number}" for number, (kind, _, _) in enumerate(PLANTED)]


def test_the_table_plants_every_kind_that_there_is():
    from runbook.trust.signatures import SIGNATURES

    kinds = {row.kind for row in SIGNATURES} | {"password-assignment", "key-assignment"}
    assert kinds == {kind for kind, _, _ in PLANTED} and len(kinds) >= 25


@pytest.mark.parametrize(("kind", "frame", "value"), PLANTED, ids=IDS)
def test_a_planted_secret_is_found_on_its_line_and_masked_whole(kind, frame, value):
    text = "import torch\n\n" + frame.format(value) + "\nlr = 0.1\n"
    masked, hits = mask(text.encode(), "train.py")
    line = text[: text.index(value)].count("\n") + 1
    assert [(h.where, h.line, h.kind) for h in hits] == [("train.py", line, kind)]
    body = re.sub(r"-----.*?-----|\\n", "", value).strip()
    assert not any(body[i : i + 8].encode() in masked for i in range(0, max(len(body) - 8, 1), 4))
    assert b"REDACTED" in masked and masked.startswith(b"import torch\n\n") and masked.endswith(b"\nlr = 0.1\n")
    assert scan([("again", masked)]) == []


@pytest.mark.parametrize(("kind", "frame", "value"), PLANTED, ids=IDS)
def test_a_finding_never_repeats_the_value(kind, frame, value):
    hits = scan([("train.py", frame.format(value).encode())])
    told = msgspec.json.encode(hits).decode() + str(as_error(hits)) + as_error(hits).hint
    assert value not in told and value[4:] not in told


@pytest.mark.parametrize(("kind", "frame", "value"), PLANTED, ids=IDS)
def test_a_secret_is_found_in_json_and_in_a_patch(kind, frame, value):
    as_json = json.dumps({"note": "before " + frame.format(value) + " after"}).encode()
    patch = "".join(f"+{line}\n" for line in ("x = 1\n" + frame.format(value)).splitlines()).encode()
    assert scan([("patch", patch)]), "in a patch"
    if '"' not in frame:  # Quoted once more, it is another text.
        assert scan([("json", as_json)]), "in JSON"


def test_what_detect_secrets_finds_is_found():
    from detect_secrets.plugins import (
        aws,
        azure_storage_key,
        basic_auth,
        discord,
        github_token,
        gitlab_token,
        mailchimp,
        npm,
        openai,
        private_key,
        pypi_token,
        sendgrid,
        slack,
        square_oauth,
        stripe,
        telegram_token,
        twilio,
    )
    from detect_secrets.plugins import (
        jwt as json_web_token,
    )

    plugins = [
        aws.AWSKeyDetector(),
        azure_storage_key.AzureStorageKeyDetector(),
        basic_auth.BasicAuthDetector(),
        discord.DiscordBotTokenDetector(),
        github_token.GitHubTokenDetector(),
        gitlab_token.GitLabTokenDetector(),
        json_web_token.JwtTokenDetector(),
        mailchimp.MailchimpDetector(),
        npm.NpmDetector(),
        openai.OpenAIDetector(),
        private_key.PrivateKeyDetector(),
        pypi_token.PypiTokenDetector(),
        sendgrid.SendGridDetector(),
        slack.SlackDetector(),
        square_oauth.SquareOAuthDetector(),
        stripe.StripeDetector(),
        telegram_token.TelegramBotTokenDetector(),
        twilio.TwilioKeyDetector(),
    ]
    agreed = set()
    for _, frame, value in PLANTED:
        text = frame.format(value)
        for plugin in plugins:
            if any(list(plugin.analyze_string(line)) for line in text.splitlines()):
                agreed.add(type(plugin).__name__)
                assert scan([("x", text.encode())]), plugin
    assert len(agreed) >= 15


INNOCENT = [
    "password = getpass.getpass('Password: ')",
    "password=args.password, token=os.environ['HF_TOKEN']",
    "def login(user, password: str = None, secret: bytes = b''): ...",
    "password = 'changeme'",
    "PASSWORD=<your password>",
    "PASSWORD=${DB_PASSWORD}",
    "token: ${{ secrets.GITHUB_TOKEN }}",
    "api_key = 'YOUR_API_KEY_HERE'",
    "api_key: xxxxxxxxxxxxxxxxxxxxxxxx",
    "pad_token='<pad>', eos_token=\"</s>\", unk_token='[UNK]'",
    "tokenizer = AutoTokenizer.from_pretrained('bert-base-uncased')",
    "num_tokens: 1048576",
    "token_pattern=r'(?u)\\b\\w\\w+\\b'",
    "secret_key_name = 'projects/p/secrets/s'",
    "self.token = self.tokens[index2]",
    '"password": {"type": "string", "description": "Your password"}',
    "postgresql://user:password@localhost/db",
    "http://user:pass@proxy.example:8080",
    "https://user:${TOKEN}@git.example/a.git",
    "git+ssh://git@git.example/a/b.git@0123456789abcdef0123456789abcdef01234567",
    "wandb @ git+https://git.example/wandb.git@0123456789abcdef0123456789abcdef01234567",
    "commit 3f786850e387550fdab836ed7e6dc881de23001b",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "run-id: 123e4567-e89b-12d3-a456-426614174000",
    "if header == '-----BEGIN RSA PRIVATE KEY-----': load(header)",
    "sk-estimator-doc-link sk-toggleable__content sk-parallel-item",
    "grad_norm: 0.12345678901234567890, loss: 1.2345e-10",
    "image: registry.example/team/app@sha256:" + "ab" * 32,
    "Enter your secret: it is never stored",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeFakeFakeFakeFakeFakeFakeFakeFakeFakeFa me@host",
]


@pytest.mark.parametrize("text", INNOCENT)
def test_ordinary_text_is_left_alone(text):
    assert mask(text.encode()) == (text.encode(), [])


def test_a_hashed_requirements_file_is_left_alone():
    rows = [f"package-{n}=={n}.0 \\\n    --hash=sha256:{some(64, LOWER_HEX)}\n" for n in range(4000)]
    assert scan([("requirements.txt", "".join(rows).encode())]) == []


def test_images_in_a_notebook_are_left_alone():
    picture = base64.b64encode(DICE.randbytes(3_000_000)).decode()
    cells = [{"outputs": [{"data": {"image/png": picture}}], "source": ["plt.plot(x)"], "id": some(8, LOWER_HEX)}]
    assert scan([("a.ipynb", json.dumps({"cells": cells}).encode())]) == []


def test_a_vocabulary_of_tokens_is_left_alone():
    words = {"vocab": {some(DICE.randint(1, 14)): n for n in range(3000)}, "added": [{"token": "<pad>", "id": 0}]}
    assert scan([("tokenizer.json", json.dumps(words).encode())]) == []


def test_the_standard_library_and_installed_packages_hold_next_to_nothing():
    roots = (Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib")))
    stdlib = [
        (str(p), p) for p in roots[0].rglob("*.py") if "test" not in p.parts and "site-packages" not in p.parts
    ]
    assert scan_files(stdlib)[0] == []
    for package in ("hypothesis", "msgspec", "click", "rich", "jinja2"):
        files = [(str(p), p) for p in (roots[1] / package).rglob("*.py")]
        assert files and scan_files(files)[0] == []


def test_scikit_learns_own_tree_is_left_alone():
    found = importlib.util.find_spec("sklearn")
    if found is None or found.origin is None:
        pytest.skip("scikit-learn is not installed")
    files = [(str(p), p) for p in Path(found.origin).parent.rglob("*") if p.is_file() and p.suffix != ".so"]
    hits, _ = scan_files(files)
    assert len(files) > 500 and hits == []


def test_a_line_with_the_pragma_is_passed_over_and_only_that_line():
    value = "ghp_" + some(36)
    text = f"a = '{value}'  # pragma: allowlist secret\nb = '{value}'\n"
    assert [h.line for h in scan([("x", text.encode())])] == [2]


def test_binary_files_are_named_and_not_searched(tmp_path):
    value = b"ghp_" + some(36).encode()
    (tmp_path / "model.bin").write_bytes(b"\0\1" + value)
    (tmp_path / "train.py").write_bytes(value)
    hits, binary = scan_files([("model.bin", tmp_path / "model.bin"), ("train.py", tmp_path / "train.py")])
    assert [h.where for h in hits] == ["train.py"] and binary == ["model.bin"]
    assert mask(b"\0" + value) == (b"\0" + value, [])


def test_a_file_larger_than_a_piece_is_searched_whole_with_right_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(secrets, "_CHUNK", 100_000)
    lines = [f"step {n} loss 0.5" for n in range(40_000)]
    planted = list(range(7, 40_000, 1999))
    for n in planted:
        lines[n] = "ghp_" + some(36)
    lines[20_000] = "x" * 300_000 + " " + key_block() + " " + "y" * 250_000
    (tmp_path / "log").write_text("\n".join(lines))
    hits, _ = scan_files([("log", tmp_path / "log")])
    text = "\n".join(lines)
    expected = sorted(text[: text.index(lines[n])].count("\n") + 1 for n in [*planted, 20_000])
    assert [h.line for h in hits] == expected


def test_argv_is_masked_by_value_and_by_option():
    value = some(20)
    argv = (
        "python",
        "train.py",
        "--lr",
        "0.1",
        "--api-key",
        value,
        f"--password={value}",
        "--db",
        f"pg://u:{value}@h",
    )
    masked, hits = mask_argv(argv)
    assert masked == (
        "python", "train.py", "--lr", "0.1", "--api-key", "REDACTED", "--password=REDACTED", "--db", "pg://u:REDACTED@h",
    )  # fmt: skip
    assert [h.where for h in hits] == ["argv"] * 3
    assert mask_argv(masked) == (masked, [])
    assert mask_argv(("python", "train.py", "--seed", "3", "-k", "v")) == (
        ("python", "train.py", "--seed", "3", "-k", "v"),
        [],
    )


def test_a_variable_is_masked_by_its_name_or_its_value():
    assert mask_value("HF_TOKEN", some(20), "variable HF_TOKEN")[0] == "REDACTED"
    assert mask_value("DB_PASSWORD", "correcthorsebattery", "x")[0] == "REDACTED"
    assert mask_value("PIP_INDEX_URL", f"https://me:{some(9)}@index.example/simple", "x")[0] == (
        "https://me:REDACTED@index.example/simple"
    )
    assert mask_value("OMP_NUM_THREADS", "4", "x") == ("4", [])


def test_names_that_look_secret():
    assert all(
        map(secret_name, ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "db_password", "NETRC_AUTH", "SESSION_COOKIE"))
    )
    assert not any(map(secret_name, ("OMP_NUM_THREADS", "LANG", "CUDA_VISIBLE_DEVICES", "PYTHONHASHSEED")))


def test_the_error_lists_places_and_says_what_to_do():
    hits = scan([(f"f{n}.py", ("ghp_" + some(36)).encode()) for n in range(30)])
    error = as_error(hits)
    assert isinstance(error, SecretFound) and error.exit_code == 2 and error.id == "secret-found"
    assert "30 values" in str(error) and "f0.py, line 1: github-token" in str(error) and "10 more" in str(error)
    assert "--redact" in error.hint


@given(
    st.lists(st.sampled_from([f.format(v) for _, f, v in PLANTED] + INNOCENT) | st.text(max_size=40), max_size=6)
)
def test_masking_leaves_nothing_to_find_and_the_rest_as_it_was(parts):
    text = "\n".join(parts)
    masked, hits = mask_text(text)
    assert scan([("x", masked.encode("utf-8", "surrogateescape"))]) == []
    assert bool(hits) == (masked != text)
    for part in masked.split("REDACTED"):
        assert part in text


@given(st.binary(max_size=400))
def test_any_bytes_can_be_masked(data):
    masked, hits = mask(data)
    assert hits or masked == data
