"""Several GPUs or machines, by ``tf.distribute``: a replica of the model for each GPU, a worker for each process.

The pattern is TensorFlow's for custom training loops: each worker's data set yields what its replicas compute with, a
step is run on all of them, their sums are reduced. All have the same weights and take the same steps, each with
drawings of its own shard of the data. Worker 0, the chief, alone reads and writes snapshots and logs.
"""

import collections
import contextlib
import json
import os
import re
import socket
import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from snapshots import first_line

PEER_LOST = (  # how an operation of several workers ends when one of them is gone
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)
PEER_LOST_CODE = 3
EXAMPLE = '{"cluster": {"worker": ["host:port", "host:port"]}, "task": {"type": "worker", "index": 0}}'


def choose_strategy() -> tf.distribute.Strategy:
    """A worker for each process that ``TF_CONFIG`` names, and on each a replica of the model for each of its GPUs.

    Without ``TF_CONFIG``, or with one that names a single worker, this process alone. Waits until all workers are
    there. Raises ValueError if ``TF_CONFIG`` cannot be followed.
    """
    if _count_workers(os.environ.get("TF_CONFIG", "")) > 1:
        print("TF_CONFIG is set: waiting until all workers that it names are there", flush=True)
        try:
            _wait_for_workers(**json.loads(os.environ["TF_CONFIG"]))
            return tf.distribute.MultiWorkerMirroredStrategy()
        except (ValueError, LookupError, TypeError, AttributeError, OSError, tf.errors.OpError) as error:
            raise ValueError(
                f"no worker can be started as TF_CONFIG says ({first_line(error)}); expected e.g. {EXAMPLE}, "
                "with a free port"
            ) from None
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def _count_workers(text: str) -> int:
    """How many workers the cluster in ``TF_CONFIG`` has; 1 without a cluster. Raises ValueError."""
    try:
        cluster = json.loads(text or "{}").get("cluster") or {}
        counts = {kind: len(addresses) for kind, addresses in cluster.items()}
        named = collections.Counter(address for addresses in cluster.values() for address in addresses)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"TF_CONFIG cannot be read ({error}); expected e.g. {EXAMPLE}") from None
    twice = [str(address) for address, count in named.items() if count > 1]
    if twice:
        raise ValueError(
            f"TF_CONFIG names {', '.join(twice)} twice; expected a host and port of its own for each worker"
        )
    other = sorted(counts.keys() - {"worker", "chief"})
    if other:
        raise ValueError(
            f"TF_CONFIG names {', '.join(other)}, which nothing here needs; expected workers alone: {EXAMPLE}"
        )
    return max(sum(counts.values()), 1)


def _wait_for_workers(cluster: dict[str, list[str]], task: dict, **_) -> None:
    """Return once every worker can be reached, as TensorFlow's own wait takes no signal, not even Ctrl-C."""
    own = cluster[task["type"]][task["index"]]
    missing = {address for addresses in cluster.values() for address in addresses} - {own}
    with socket.create_server(("", int(own.rpartition(":")[2]))):  # where the others look; then TensorFlow's
        while missing:
            for address in sorted(missing):
                host, _, port = address.rpartition(":")
                with contextlib.suppress(OSError):
                    socket.create_connection((host.strip("[]"), int(port)), 1.0).close()
                    missing.remove(address)
            time.sleep(0.2)


class DistributedContext:
    """This process among those that train one model; by default the only one, with one replica."""

    def __init__(self, strategy: tf.distribute.Strategy | None = None):
        self.strategy = tf.distribute.get_strategy() if strategy is None else strategy
        numbers = self._for_each_replica(lambda replica: replica)
        self.replicas = self.strategy.experimental_local_results(numbers)  # of this worker, among all
        self.count = self.strategy.num_replicas_in_sync // len(self.replicas)  # of workers
        self.index = self.replicas[0] // len(self.replicas)  # of this worker
        self.is_chief = self.index == 0

    def _for_each_replica(self, make):
        return self.strategy.experimental_distribute_values_from_function(
            lambda context: make(context.replica_id_in_sync_group)
        )

    def share(self, batch_size: int) -> int:
        """How many drawings of a step's batch are this worker's. Raises ValueError if the replicas cannot share it."""
        count = self.strategy.num_replicas_in_sync
        if batch_size % count:
            raise ValueError(
                f"batch_size {batch_size} cannot be shared by {count} GPUs or workers; choose a multiple of {count}"
            )
        return batch_size // self.count

    def distribute(self, values, signature):
        """An iterator over what the infinite iterator ``values`` yields, for each of this worker's replicas in turn.

        Each is as ``signature`` says; the next ones are made while these are computed with.
        """
        infinite = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
        dataset = tf.data.Dataset.from_generator(lambda: values, output_signature=signature).apply(infinite)
        dataset = dataset.prefetch(len(self.replicas))
        return iter(self.strategy.distribute_datasets_from_function(lambda context: dataset))

    @staticmethod
    def all_reduce(values):
        """On a replica: the sum of each tensor over all replicas, of which TensorFlow knows the gradient, too."""
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)

    def first_replica(self, values):
        """Of values that ``run`` returned, the first replica's here."""
        return tf.nest.map_structure(lambda value: self.strategy.experimental_local_results(value)[0], values)

    def apply_gradients(self, optimizer, gradients, variables, clip: float) -> None:
        """Update by gradients that are summed over all replicas already, clipped to +- ``clip``."""

        def step(variable, gradient):
            optimizer.update_step(tf.clip_by_value(gradient, -clip, clip), variable, optimizer.learning_rate)

        if self.strategy.num_replicas_in_sync == 1:  # in one update of all, which saves a tenth of a step's time
            optimizer.apply([tf.clip_by_value(gradient, -clip, clip) for gradient in gradients], variables)
            return
        for variable, gradient in zip(variables, gradients, strict=True):  # which ``apply`` would sum once more
            self.strategy.extended.update(variable, step, (gradient,), group=False)
        optimizer.iterations.assign_add(1)

    def sum(self, numbers: np.ndarray) -> np.ndarray:
        """The sum of float64 arrays of one shape, one from each worker."""
        if self.count == 1:
            return numbers
        parts = self._for_each_replica(lambda replica: tf.constant(numbers * (replica == self.replicas[0])))
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, parts, axis=None).numpy()

    def any(self, flag: bool) -> bool:
        """Whether any worker's flag is set."""
        return bool(self.sum(np.array(float(flag))))

    def broadcast(self, value: np.ndarray) -> np.ndarray:
        """The chief's array, whose shape is known to all: a new variable begins as the chief's on all workers."""
        with self.strategy.scope():
            return tf.Variable(value, trainable=False).numpy()

    def broadcast_string(self, text: str) -> str:
        """The chief's text."""
        data = np.frombuffer(text.encode(), np.uint8).astype(np.int64)
        size = int(self.broadcast(np.array(len(data))))
        return self.broadcast(np.resize(data, size)).astype(np.uint8).tobytes().decode()

    def broadcast_state(self, variables: list) -> None:
        """All variables become the chief's, who alone has read a snapshot."""
        for variable in variables if self.count > 1 else ():
            variable.assign(self.broadcast(variable.numpy()))

    def assert_equal_across_workers(self, numbers: list[float]) -> None:
        """Raises ValueError, on all workers, if one knows other numbers of its data than the chief."""
        own = np.array(numbers, np.float64)
        if self.any(not np.array_equal(self.broadcast(own), own)):
            raise ValueError("the files of the workers' --data_dir differ; copy them from one to all others")


def end_after_lost_worker(error: Exception) -> None:
    """Say that another worker is gone, and end this process with ``PEER_LOST_CODE``."""
    reason = re.search(r"aborted by: (.*)", str(error))
    reason = reason[1] if reason else first_line(error)
    remedy = "start all of them again, with --resume_training if there is a snapshot"
    print(f"{Path(sys.argv[0]).name}: another worker is gone ({reason[:200]}); {remedy}", file=sys.stderr)
    sys.stdout.flush()
    os._exit(PEER_LOST_CODE)  # TensorFlow's own end waits for the lost worker, and trips
