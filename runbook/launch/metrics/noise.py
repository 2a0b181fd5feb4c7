"""Which numbers are no metrics: times, throughputs, memory, counters, settings, identities. Pure.

Names are judged, not values, so that the choice is the same whatever the machine's speed.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase


def words_of(text: str) -> frozenset[str]:
    """The words of a list that is easier read as a text."""
    return frozenset(text.split())


_TIME = words_of(
    "time times timing timings duration durations elapsed eta remaining seconds sec secs ms msec msecs us "
    "ns minute minutes hour hours hrs latency runtime walltime wall dur took clock date dates timestamp "
    "datetime started finished ts"
)
_SPEED = words_of(
    "throughput fps ips speed tps qps rps mfu flops tflops gflops flos hz its sps samples_s tokens_s imgs_s"
)
_MEMORY = words_of("mem memory vram ram rss bytes byte kb mb gb tb kib mib gib cpu gpu disk swap util utilization")
_COUNTERS = words_of(
    "epoch epochs step steps iter iters iteration iterations it episode episodes batch batches round "
    "rounds trial trials timestep timesteps generation generations fold folds index idx progress updates "
    "n_updates"
)
_RATES = frozenset(("lr", "learning_rate", "learningrate"))
_IDENTITY = words_of(
    "pid ppid port id uuid version hash sha sha1 sha256 md5 commit rank local_rank world_size seed seeds "
    "device devices python torch numpy cuda cudnn hostname host build revision checkpoint"
)
_SETTINGS = words_of(
    "alpha beta beta1 beta2 momentum weight_decay dropout workers num_workers batch_size batchsize bs "
    "epochs max_epochs n_epochs num_epochs hidden_size hidden_dim embed_dim n_embd n_head n_layer "
    "block_size layers heads dim dims depth width size length shape params parameters param gamma eps "
    "epsilon patience warmup warmup_steps clip grad_clip n_estimators max_depth num_leaves l1_ratio c "
    "degree vocab vocabulary examples samples classes features rows columns cols support threads dtype "
    "bins points characters words tokens temperature top_k top_p max_iter mode modules"
)
_COUNTS = ("number of ", "num ", "n ", "no of ", "count ", "using ", "loaded ")

TIME_UNITS = words_of(
    "s sec secs second seconds ms msec us µs μs ns m min mins minute minutes h hr hrs hour hours d days"
)
SPEED_UNITS = words_of(
    "it/s s/it its/s ms/step s/step us/step samples/s tokens/s tok/s img/s images/s hz khz mhz ghz fps"
)
MEMORY_UNITS = words_of("kb mb gb tb kib mib gib tib bytes byte")


def words(name: str) -> list[str]:
    """The words of a name, lower case: of `val/stepTime`, val, step and time."""
    return [w.lower() for w in re.findall(r"[^\W\d_]+\d*|\d+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name))]


def plain(name: str) -> str:
    """The name without regard to case and signs: RMSE, rmse and `Test loss`, test_loss are one."""
    return " ".join(words(name))


def why_noise(name: str, unit: str = "", *, printed: bool = False) -> str:
    """Why a number of this name is no metric; empty where it is one.

    unit: what stands behind the number, `ms`; printed: it was met in a log, where settings and counts stand too.
    """
    unit = unit.strip().lower()
    if unit in TIME_UNITS or (unit.endswith("/step") and unit[:-5] in TIME_UNITS):
        return "a time"
    if unit in SPEED_UNITS or unit.endswith(("/s", "/sec", "/second", "/it", "/min")):
        return "a throughput"
    if unit in MEMORY_UNITS:
        return "an amount of memory"
    tail = words(name)
    joined, last = "_".join(tail), tail[-1] if tail else ""
    if not tail:
        return "has no name"
    if tail[0] in ("system", "_wandb") and len(tail) > 1:
        return "the machine's state"
    if ("per" in tail or "/s" in name) and tail[-1] in ("second", "sec", "s", "minute", "hour"):
        return "a throughput"
    if _SPEED & {*tail, joined}:
        return "a throughput"
    if _TIME & {*tail}:
        return "a time"
    if _MEMORY & {*tail}:
        return "an amount of memory or load"
    if last in _RATES or joined.endswith("learning_rate") or "lr" in tail:
        return "a learning rate, which the job sets"
    if last in _COUNTERS or joined in _COUNTERS:
        return "a counter"
    if last in _IDENTITY or tail[0] in ("pid", "seed", "version", "python"):
        return "an identity"
    if printed and (last in _SETTINGS or joined in _SETTINGS):
        return "a setting or a count"
    if printed and f"{' '.join(tail)} ".startswith(_COUNTS):
        return "a count"
    return ""


def overruled(name: str, keep: tuple[str, ...], drop: tuple[str, ...]) -> bool | None:
    """What a person said of this metric: keep, drop, or nothing. The longer pattern wins, of equals the drop."""
    kept = max((len(p) for p in keep if p == name or fnmatchcase(name, p)), default=-1)
    dropped = max((len(p) for p in drop if p == name or fnmatchcase(name, p)), default=-1)
    return None if kept == dropped == -1 else kept > dropped
